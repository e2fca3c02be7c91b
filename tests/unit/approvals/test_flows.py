"""What an administrator may set as a flow, and that nothing which is let through gets stuck."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.approvals.domain.flows import PRESETS, FlowStep, SubjectType, check_flow
from services.approvals.domain.steps import (
    ApprovalState,
    Step,
    StepState,
    decide,
    delegate,
    open_index,
    open_next,
    state_of,
)
from services.approvals.store.queries import pack_step, unpack_step
from services.approvals.usecases.approvers import StepToAsk, find_approvers
from services.chassis.errors import AppError, InvalidInput
from services.chassis.tenancy import Tenant

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


AMOUNTS = st.one_of(st.none(), st.sampled_from(["0.00", "5000.00", "10000.00", "10000.01"]).map(Decimal))
ROLES = st.sampled_from(
    ["sales_manager", "director", "operations", "finance", "nobody_has_it", "no such role"]
)
FLOW_STEPS = st.builds(
    FlowStep,
    name=st.just("步"),
    roles=st.lists(ROLES, max_size=3, unique=True).map(tuple),
    amount_from=AMOUNTS,
    amount_below=AMOUNTS,
    person_ids=st.lists(st.sampled_from(["gone", "li", "wang"]), max_size=2, unique=True).map(tuple),
    escalate_role=st.sampled_from(["", "director", "no such role"]),
)


class Company:
    """Who holds what; gone has left, li submits, wu has the role without the right."""

    holders = {"sales_manager": ["wang", "wu"], "director": ["zhou"], "finance": ["wu"], "admin": ["boss"]}  # noqa: RUF012

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        return self.holders.get(role, [])

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        return person_id in {"wang", "zhou", "boss", "li"}


@given(
    subject_type=st.sampled_from(SubjectType),
    flow=st.lists(FLOW_STEPS, min_size=1, max_size=5),
    amount=st.sampled_from(["0", "4999.99", "5000", "10000", "99999"]).map(Decimal),
    chosen=st.sampled_from(["", "gone", "li", "wang"]),
    passes=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_no_flow_that_validates_gets_an_approval_stuck(
    subject_type: SubjectType, flow: list[FlowStep], amount: Decimal, chosen: str, passes: list[bool]
) -> None:
    """Whatever the roles, people and amounts: at every open step somebody can decide, and it ends."""
    try:
        check_flow(subject_type, flow)
    except InvalidInput:
        return
    tenant = Tenant("t", "main")
    found = [
        find_approvers(Company(), tenant, "li", StepToAsk(index, step.roles, chosen, step.person_ids))
        for index, step in enumerate(flow)
    ]
    assert all("li" not in asked.person_ids and asked.person_ids for asked in found)
    steps = open_next(
        [
            Step(StepState.WAITING, asked.person_ids, step.amount_from, step.amount_below)
            for step, asked in zip(flow, found, strict=True)
        ],
        amount,
    )
    for passed in passes:
        if state_of(steps) is not ApprovalState.OPEN:
            break
        index = open_index(steps)
        steps = decide(steps, amount, index, steps[index].approver_ids[0], passed=passed)
    assert state_of(steps) in (ApprovalState.PASSED, ApprovalState.REJECTED)


@given(FLOW_STEPS)
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
        delegate(Step(state, ("wang", "boss")), giver, taker, "li")
    handed = delegate(Step(StepState.OPEN, ("wang", "boss")), "wang", "wu", "li")
    assert handed.approver_ids == ("wu", "boss")
