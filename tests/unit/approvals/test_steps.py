"""The rules of an approval's steps."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.approvals.domain.flows import PRESETS, Mode, Subject, SubjectType, WhenEmpty, is_asked
from services.approvals.domain.steps import (
    DECIDED,
    ApprovalState,
    AutoReason,
    Step,
    StepState,
    decide,
    open_index,
    settle,
    shown_changes,
    shown_hash,
    state_of,
)
from services.chassis.errors import AppError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE = ("wang", "zhou", "li")


def order_steps(amount: str) -> tuple[Step, ...]:
    """Return the opened steps of an order of this amount."""
    flow = PRESETS[SubjectType.ORDER]
    subject = Subject(SubjectType.ORDER, "li", Decimal(amount), [])
    steps = [
        Step(StepState.WAITING, (approver,), asked=is_asked(step, subject, NOW))
        for step, approver in zip(flow, ("wang", "zhou"), strict=True)
    ]
    return settle(steps)


@pytest.mark.parametrize(
    ("amount", "second"),
    [
        ("9999.99", StepState.AUTO_APPROVED),
        ("10000.00", StepState.OPEN),
        ("10000.01", StepState.OPEN),
        ("0.00", StepState.AUTO_APPROVED),
    ],
)
def test_exactly_the_limit_asks_both(amount: str, second: StepState) -> None:
    """F175, F176, F178, O1: below 10000 the director's step is approved by the system and shown as such."""
    after, _ = decide(order_steps(amount), 0, "wang", passed=True)
    assert after[1].state is second
    assert after[1].auto_reason is (None if second is StepState.OPEN else AutoReason.CONDITION)
    assert state_of(after) is (ApprovalState.OPEN if second is StepState.OPEN else ApprovalState.PASSED)


def test_a_rejection_ends_it_and_leaves_later_steps_unasked() -> None:
    after, _ = decide(order_steps("20000"), 0, "wang", passed=False)
    assert [step.state for step in after] == [StepState.REJECTED, StepState.WAITING]
    assert (state_of(after), open_index(after)) == (ApprovalState.REJECTED, -1)


@pytest.mark.parametrize(
    ("index", "decider", "reason"),
    [
        (0, "zhou", "NOT_APPROVER"),
        (0, "li", "NOT_APPROVER"),
        (1, "zhou", "STEP_NOT_OPEN"),
        (2, "wang", "STEP_UNKNOWN"),
        (-1, "wang", "STEP_UNKNOWN"),
    ],
)
def test_only_the_open_steps_approver_decides(index: int, decider: str, reason: str) -> None:
    with pytest.raises(AppError, match=reason):
        decide(order_steps("20000"), index, decider, passed=True)


def test_what_is_shown_has_one_hash_in_its_order() -> None:
    shown = [("名称", "云海"), ("电话", "138****8000")]
    assert shown_hash(shown) == shown_hash(list(shown))
    assert shown_hash(shown) != shown_hash(shown[::-1])
    assert shown_hash([("a", "bc")]) != shown_hash([("ab", "c")])


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ([], [], []),
        ([("amount", "1"), ("title", "甲")], [("title", "甲"), ("amount", "1")], []),
        ([("amount", "1")], [("amount", "2")], [("amount", "1", "2")]),
        ([("a", "1"), ("b", "2")], [("b", "2"), ("c", "3")], [("c", "", "3"), ("a", "1", "")]),
    ],
)
def test_what_changed_between_two_rounds_is_told(
    before: list[tuple[str, str]], after: list[tuple[str, str]], changes: list[tuple[str, str, str]]
) -> None:
    assert shown_changes(before, after) == changes


def seated(mode: Mode, *seats: str, others: tuple[str, ...] = ()) -> Step:
    """Return a step that all its seats have to pass; others: whom it was escalated to."""
    return Step(StepState.WAITING, (*seats, *others), mode=mode, seat_ids=seats)


def test_all_of_several_approvers_pass_in_whatever_order() -> None:
    steps = settle([seated(Mode.ALL, "wang", "zhou"), Step(StepState.WAITING, ("li",))])
    assert steps[0].approver_ids == ("wang", "zhou")
    steps, place = decide(steps, 0, "zhou", passed=True)
    assert (place, steps[0].state, steps[0].approver_ids) == ("zhou", StepState.OPEN, ("wang",))
    with pytest.raises(AppError, match="ALREADY_DECIDED"):
        decide(steps, 0, "zhou", passed=True)
    steps, _ = decide(steps, 0, "wang", passed=True)
    assert [step.state for step in steps] == [StepState.PASSED, StepState.OPEN]


def test_one_of_all_who_rejects_ends_it() -> None:
    steps, _ = decide(settle([seated(Mode.ALL, "wang", "zhou")]), 0, "wang", passed=True)
    steps, _ = decide(steps, 0, "zhou", passed=False)
    assert state_of(steps) is ApprovalState.REJECTED


def test_approvers_in_turn_are_asked_one_after_the_other() -> None:
    steps = settle([seated(Mode.IN_TURN, "wang", "zhou", "li")])
    for person, later in (("wang", "zhou"), ("zhou", "li")):
        assert steps[0].approver_ids == (person,)
        with pytest.raises(AppError, match="STEP_NOT_OPEN"):
            decide(steps, 0, later, passed=True)
        steps, _ = decide(steps, 0, person, passed=True)
    steps, _ = decide(steps, 0, "li", passed=True)
    assert state_of(steps) is ApprovalState.PASSED


def test_whom_a_step_is_escalated_to_decides_it_alone() -> None:
    steps = settle([seated(Mode.ALL, "wang", "zhou", others=("li",))])
    steps, place = decide(steps, 0, "li", passed=True)
    assert (place, state_of(steps)) == ("li", ApprovalState.PASSED)


@pytest.mark.parametrize("repeat_passes", [True, False])
def test_the_same_person_twice_is_asked_again_only_if_the_flow_says_so(repeat_passes: bool) -> None:
    steps = [
        Step(StepState.WAITING, ("wang",), repeat_passes=repeat_passes),
        Step(StepState.WAITING, ("zhou", "wang"), repeat_passes=repeat_passes),
    ]
    after, _ = decide(settle(steps), 0, "wang", passed=True)
    assert after[1].state is (StepState.AUTO_APPROVED if repeat_passes else StepState.OPEN)
    assert after[1].auto_reason is (AutoReason.REPEATED if repeat_passes else None)


def test_of_all_only_those_who_have_not_passed_before_are_asked() -> None:
    second = replace(seated(Mode.ALL, "wang", "zhou"), repeat_passes=True)
    after, _ = decide(settle([Step(StepState.WAITING, ("wang",)), second]), 0, "wang", passed=True)
    assert (after[1].state, after[1].approver_ids) == (StepState.OPEN, ("zhou",))


@pytest.mark.parametrize(
    ("empty", "state", "outcome"),
    [
        (WhenEmpty.APPROVE, StepState.AUTO_APPROVED, ApprovalState.PASSED),
        (WhenEmpty.REFUSE, StepState.REJECTED, ApprovalState.REJECTED),
    ],
)
def test_a_step_that_nobody_fits_ends_as_its_flow_says(
    empty: WhenEmpty, state: StepState, outcome: ApprovalState
) -> None:
    (step,) = settle([Step(StepState.WAITING, empty=empty)])
    assert (step.state, step.auto_reason, state_of([step])) == (state, AutoReason.NOBODY, outcome)


def test_a_deputy_acts_in_anothers_place_and_in_the_own_one_first() -> None:
    steps = settle([seated(Mode.ALL, "wang", "zhou")])
    after, place = decide(steps, 0, "li", passed=True, for_ids=["wang"])
    assert (place, after[0].approver_ids, after[0].decider_ids) == ("wang", ("zhou",), ("li",))
    _, place = decide(steps, 0, "zhou", passed=True, for_ids=["wang"])
    assert place == "zhou"


@given(
    asked=st.lists(st.booleans(), min_size=1, max_size=4),
    approvers=st.lists(st.sets(st.sampled_from(PEOPLE), min_size=1), min_size=4, max_size=4),
    modes=st.lists(st.sampled_from(Mode), min_size=4, max_size=4),
    attempts=st.lists(
        st.tuples(st.integers(-1, 4), st.sampled_from(PEOPLE), st.booleans()), min_size=1, max_size=30
    ),
)
def test_any_interleaving_of_decisions_decides_each_seat_at_most_once_and_steps_in_order(
    asked: list[bool],
    approvers: list[set[str]],
    modes: list[Mode],
    attempts: list[tuple[int, str, bool]],
) -> None:
    def made(holds: bool, who: set[str], mode: Mode) -> Step:
        people = tuple(sorted(who))
        seats = () if mode is Mode.ANY else people
        return Step(StepState.WAITING, people, asked=holds, mode=mode, seat_ids=seats)

    steps = settle([made(*given_step) for given_step in zip(asked, approvers, modes, strict=False)])
    accepted: list[tuple[int, str]] = []
    for index, decider, passed in attempts:
        before = steps
        try:
            steps, place = decide(steps, index, decider, passed=passed)
        except AppError:
            continue
        accepted.append((index, place))
        assert before[index].state is StepState.OPEN
        assert place == decider
        assert decider in before[index].approver_ids
        # What was decided stays as it was decided.
        for old, new in zip(before, steps, strict=True):
            if old.state in DECIDED:
                assert new == old
        if not passed:
            assert state_of(steps) is ApprovalState.REJECTED
    assert len(set(accepted)) == len(accepted)
    assert [index for index, _ in accepted] == sorted(index for index, _ in accepted)
    assert sum(step.state is StepState.OPEN for step in steps) <= 1
    if state_of(steps) is ApprovalState.PASSED:
        for index, (holds, who, mode) in enumerate(zip(asked, approvers, modes, strict=False)):
            places = {place for decided, place in accepted if decided == index}
            assert steps[index].state is (StepState.PASSED if holds else StepState.AUTO_APPROVED)
            if holds and mode is not Mode.ANY:
                assert places == who
            else:
                assert len(places) == holds


def test_an_approval_whose_steps_are_all_below_their_limits_passes_by_itself() -> None:
    below = settle([replace(order_steps("1")[1], state=StepState.WAITING)])
    assert state_of(below) is ApprovalState.PASSED
