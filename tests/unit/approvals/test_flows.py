"""What an administrator may set as a flow, and that nothing which is let through gets stuck."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.approvals.domain.flows import (
    FIELDS,
    PRESETS,
    FlowStep,
    Mode,
    Subject,
    SubjectType,
    WhenEmpty,
    check_flow,
    is_asked,
)
from services.approvals.domain.steps import (
    DECIDED,
    ApprovalState,
    Step,
    StepState,
    check_delegate,
    decide,
    open_index,
    settle,
    state_of,
)
from services.approvals.store.queries import pack_step, unpack_step
from services.approvals.usecases.approvers import StepToAsk, find_approvers
from services.chassis.errors import AppError, InvalidInput
from services.chassis.tenancy import Tenant
from services.kernel.filters import OPERATORS, Kind, Operator

BOSS = FlowStep("老板", ("admin",))


def test_the_presets_are_flows_that_may_be_set() -> None:
    for subject_type, steps in PRESETS.items():
        assert check_flow(subject_type, steps) == steps


@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ([], "steps"),
        ([BOSS] * 11, "steps"),
        ([BOSS, FlowStep("无人")], "steps[1].roles"),
        ([FlowStep("两种", ("admin",), person_ids=("x",))], "steps[0].roles"),
        ([FlowStep("两种", ("admin",), superior_level=1)], "steps[0].roles"),
        ([FlowStep("太高", superior_level=11)], "steps[0].roles"),
        ([FlowStep("谁", ("admin",), when_empty=WhenEmpty.NAMED)], "steps[0].stand_in_ids"),
        ([FlowStep("谁", ("admin",), stand_in_ids=("x",))], "steps[0].stand_in_ids"),
        ([FlowStep("何", ("admin",), condition="{")], "steps[0].condition"),
        (
            [FlowStep("何", ("admin",), condition='{"field": "level", "op": "eq", "value": "A"}')],
            "steps[0].condition.field",
        ),
        ([FlowStep("反", ("admin",), Decimal(5), Decimal(5))], "steps[0].amount_below"),
        ([FlowStep("快", ("admin",), time_limit=timedelta(seconds=59))], "steps[0].time_limit"),
        ([FlowStep("慢", ("admin",), time_limit=timedelta(days=30, seconds=1))], "steps[0].time_limit"),
    ],
)
def test_a_flow_that_cannot_work_is_refused_with_its_field(steps: list[FlowStep], field: str) -> None:
    """F177."""
    with pytest.raises(InvalidInput) as refused:
        check_flow(SubjectType.ORDER, steps)
    assert refused.value.field == field


PEOPLE = ("wang", "zhou", "wu", "boss", "gone", "li")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AMOUNTS = st.one_of(st.none(), st.sampled_from(["0.00", "5000.00", "10000.00", "10000.01"]).map(Decimal))
ROLES = st.sampled_from(
    ["sales_manager", "director", "operations", "finance", "nobody_has_it", "no such role"]
)
TEXTS = st.sampled_from(["", "A", "空调", "2026-12-31", "2026-02-30", "9999-12-31", "12.00", "x" * 500])
# What conditions ask for, by the kind of the field.
ASKED: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.NUMBER: st.sampled_from([0, "9999.99", 10000, 10000.01, -1]),
    Kind.DATE: st.sampled_from(["0001-01-01", "2026-12-31", "9999-12-31"]),
    Kind.ID: st.sampled_from(["me", "0190b7e0-0000-7000-8000-000000000001"]),
    Kind.TEXT: TEXTS.filter(bool),
    Kind.CHOICE: TEXTS.filter(bool),
}


@st.composite
def questions(draw: st.DrawFn, subject_type: SubjectType) -> dict[str, Any]:
    """Return a condition upon any field of a subject, by any operator that its kind has."""
    name, kind = draw(st.sampled_from(sorted(FIELDS[subject_type].items())))
    operator = draw(st.sampled_from(OPERATORS[kind]))
    if operator in (Operator.EMPTY, Operator.NOT_EMPTY):
        return {"field": name, "op": operator}
    value = ASKED[kind]
    if operator.endswith("_days"):
        value = st.sampled_from([1, 36_500])
    elif operator in (Operator.IN, Operator.NOT_IN, Operator.BETWEEN):
        value = st.lists(value, min_size=2, max_size=2)
    return {"field": name, "op": operator, "value": draw(value)}


def conditions(subject_type: SubjectType) -> st.SearchStrategy[str]:
    """Return what a step may be asked under, as it is stored: nothing, a question, or groups within groups."""

    def groups(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        return st.dictionaries(
            st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=1
        )

    return st.just("") | st.recursive(questions(subject_type), groups, max_leaves=4).map(json.dumps)


def flow_steps(subject_type: SubjectType) -> st.SearchStrategy[FlowStep]:
    """Return steps of every make."""
    return st.builds(
        FlowStep,
        name=st.just("步"),
        roles=st.lists(ROLES, max_size=3, unique=True).map(tuple),
        amount_from=AMOUNTS,
        amount_below=AMOUNTS,
        person_ids=st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True).map(tuple),
        escalate_role=st.sampled_from(["", "director", "no such role"]),
        mode=st.sampled_from(Mode),
        superior_level=st.integers(0, 3),
        head_of=st.sampled_from(["", "own", "department without a head"]),
        when_empty=st.sampled_from(WhenEmpty),
        stand_in_ids=st.lists(st.sampled_from(PEOPLE), max_size=2, unique=True).map(tuple),
        condition=conditions(subject_type),
    )


@st.composite
def flows(draw: st.DrawFn) -> tuple[Subject, list[FlowStep]]:
    """Return a subject with whatever may be shown of it, days that are none among it, and a flow for its type."""
    subject_type = draw(st.sampled_from(SubjectType))
    names = st.sampled_from([*FIELDS[subject_type], "line 1", "line 2", "another"])
    subject = Subject(
        subject_type,
        "li",
        draw(st.none() | st.sampled_from(["0", "4999.99", "5000", "10000", "99999"]).map(Decimal)),
        draw(st.lists(st.tuples(names, TEXTS), max_size=5)),
    )
    return subject, draw(st.lists(flow_steps(subject_type).map(one_way), min_size=1, max_size=5))


def one_way(step: FlowStep) -> FlowStep:
    """Return a step with only the first of the ways that it names its approvers by: so most flows validate."""
    if step.roles:
        step = replace(step, person_ids=(), superior_level=0, head_of="")
    elif step.person_ids:
        step = replace(step, superior_level=0, head_of="")
    elif step.superior_level:
        step = replace(step, head_of="")
    stand_ins = (step.stand_in_ids or ("boss",)) if step.when_empty is WhenEmpty.NAMED else ()
    return replace(step, stand_in_ids=stand_ins)


class Company:
    """Who holds what, and who may decide now; li submits, wu has the role without the right."""

    holders = {"sales_manager": ["wang", "wu"], "director": ["zhou"], "finance": ["wu"], "admin": ["boss"]}  # noqa: RUF012  # never written

    def __init__(self) -> None:
        self.able = {"wang", "zhou", "boss", "li"}

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        return [person for person in self.holders.get(role, []) if person in self.able or person == "wu"]

    def heads(self, tenant: Tenant, person_id: str, department_id: str) -> list[str]:
        return [] if department_id else ["wang", "zhou"]

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        return person_id in self.able


def appointed(flow: Sequence[FlowStep], steps: Sequence[Step], company: Company, chosen: str) -> list[Step]:
    """Return the steps with the approvers that the company has for them now; what was decided stays."""
    result = []
    for index, (flow_step, step) in enumerate(zip(flow, steps, strict=True)):
        if step.state in DECIDED or not step.asked:
            result.append(step)
            continue
        found = find_approvers(company, Tenant("t", "main"), "li", StepToAsk(index, flow_step, chosen))
        seats = step.passed_ids
        if flow_step.mode is not Mode.ANY and found.standing_in is None:
            seats += tuple(person for person in found.person_ids if person not in seats)
        result.append(replace(step, approver_ids=found.person_ids, seat_ids=seats, empty=found.empty))
    return result


@settings(max_examples=200)
@given(
    flow_of=flows(),
    chosen=st.sampled_from(["", *PEOPLE]),
    repeat_passes=st.booleans(),
    moves=st.lists(st.tuples(st.booleans(), st.sampled_from(PEOPLE)), min_size=60, max_size=60),
)
def test_no_flow_that_validates_gets_an_approval_stuck(
    flow_of: tuple[Subject, list[FlowStep]],
    chosen: str,
    repeat_passes: bool,
    moves: list[tuple[bool, str]],
) -> None:
    """Whatever the roles, people, superiors, conditions and leavers: somebody can decide, never the submitter."""
    subject, flow = flow_of
    try:
        check_flow(subject.type, flow)
    except InvalidInput:
        return
    company = Company()
    steps: Sequence[Step] = [
        Step(
            StepState.WAITING,
            asked=is_asked(step, subject, NOW),
            mode=step.mode,
            repeat_passes=repeat_passes,
        )
        for step in flow
    ]
    steps = settle(appointed(flow, steps, company, chosen))
    for stays, leaver in moves:
        if state_of(steps) is not ApprovalState.OPEN:
            break
        index = open_index(steps)
        acting = [person for person in steps[index].approver_ids if person in company.able]
        assert acting, "the open step waits for nobody who can decide it"
        assert "li" not in acting
        if stays or leaver in ("boss", "li") or leaver not in company.able:
            steps, _ = decide(steps, index, acting[0], passed=True)
            continue
        # Somebody leaves: the approvers are found anew, and what was decided stays.
        company.able.discard(leaver)
        decided = [step for step in steps if step.state in DECIDED]
        steps = settle(appointed(flow, steps, company, chosen))
        assert list(steps[: len(decided)]) == decided
    assert state_of(steps) in (ApprovalState.PASSED, ApprovalState.REJECTED)


@given(st.sampled_from(SubjectType).flatmap(flow_steps))
def test_a_step_is_stored_as_it_is(step: FlowStep) -> None:
    assert unpack_step(pack_step(step)) == step


def test_a_step_of_a_release_before_is_read() -> None:
    old = {"name": "销售总监", "role": "director", "amount_from": "10000.00"}
    assert unpack_step(old) == FlowStep("销售总监", ("director",), Decimal("10000.00"))


@pytest.mark.parametrize(
    ("state", "giver", "taker", "reason"),
    [
        (StepState.OPEN, "zhou", "wu", "NOT_APPROVER"),
        (StepState.PASSED, "wang", "wu", "ALREADY_DECIDED"),
        (StepState.WAITING, "wang", "wu", "STEP_NOT_OPEN"),
        (StepState.OPEN, "wang", "li", "DELEGATE_INVALID"),
        (StepState.OPEN, "wang", "boss", "DELEGATE_INVALID"),
    ],
)
def test_a_step_is_handed_on_only_by_its_approver_and_to_a_third(
    state: StepState, giver: str, taker: str, reason: str
) -> None:
    with pytest.raises(AppError, match=reason):
        check_delegate(Step(state, ("wang", "boss")), giver, taker, "li")
    check_delegate(Step(StepState.OPEN, ("wang", "boss")), "wang", "wu", "li")


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        ('{"field": "level", "op": "eq", "value": "A"}', True),
        ('{"field": "level", "op": "in", "value": ["B", "C"]}', False),
        ('{"field": "address", "op": "empty"}', True),
        (
            '{"all": [{"field": "region", "op": "prefix", "value": "上"}, {"field": "level", "op": "empty"}]}',
            False,
        ),
        ('{"field": "submitter_id", "op": "eq", "value": "me"}', True),
    ],
)
def test_a_step_is_asked_only_of_what_passes_its_condition(condition: str, asked: bool) -> None:
    """F177: conditions on fields are data."""
    step = FlowStep("步", condition=condition)
    check_flow(SubjectType.REGISTRATION, [step])
    subject = Subject(SubjectType.REGISTRATION, "li", None, [("level", "A"), ("region", "上海")])
    assert is_asked(step, subject, NOW) is asked


def test_conditions_ask_of_lines_and_days_too() -> None:
    lines = FlowStep("步", ("admin",), condition='{"field": "lines", "op": "contains", "value": "空调"}')
    shown = [("line 1", "电视 × 1 × 5.00"), ("line 2", "空调 × 2 × 9.00")]
    assert is_asked(lines, Subject(SubjectType.ORDER, "li", Decimal(23), shown), NOW)
    assert not is_asked(lines, Subject(SubjectType.ORDER, "li", Decimal(5), shown[:1]), NOW)
    late = FlowStep("步", ("admin",), condition='{"field": "end", "op": "gt", "value": "2027-01-01"}')
    assert is_asked(late, Subject(SubjectType.CONTRACT, "li", None, [("end", "2027-02-01")]), NOW)
    assert not is_asked(late, Subject(SubjectType.CONTRACT, "li", None, [("end", "2026-02-01")]), NOW)


@pytest.mark.parametrize(
    ("step", "asked"),
    [
        (FlowStep("步", superior_level=1), ("wang",)),
        (FlowStep("步", superior_level=2), ("zhou",)),
        (FlowStep("步", head_of="own"), ("wang",)),
        (FlowStep("步", person_ids=("zhou", "gone", "wang")), ("zhou", "wang")),
        # Nobody is that high: who is named stands in, and administrators where none of these can.
        (
            FlowStep("步", superior_level=3, when_empty=WhenEmpty.NAMED, stand_in_ids=("gone", "zhou")),
            ("zhou",),
        ),
        (FlowStep("步", superior_level=3, when_empty=WhenEmpty.NAMED, stand_in_ids=("gone",)), ("boss",)),
        (FlowStep("步", superior_level=3), ("boss",)),
        (FlowStep("步", superior_level=3, when_empty=WhenEmpty.APPROVE), ()),
    ],
)
def test_who_decides_is_found_by_each_of_the_ways(step: FlowStep, asked: tuple[str, ...]) -> None:
    found = find_approvers(Company(), Tenant("t", "main"), "li", StepToAsk(0, step))
    assert found.person_ids == asked


def test_a_place_handed_to_somebody_who_left_is_its_holders_again() -> None:
    step = FlowStep("步", person_ids=("wang",))
    for taker, asked in (("zhou", ("zhou",)), ("gone", ("wang",))):
        handed = StepToAsk(0, step, handed=(("wang", taker),))
        assert find_approvers(Company(), Tenant("t", "main"), "li", handed).person_ids == asked
