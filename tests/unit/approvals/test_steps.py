"""The rules of an approval's steps."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.approvals.domain.flows import PRESETS, SubjectType
from services.approvals.domain.steps import (
    DECIDED,
    ApprovalState,
    Step,
    StepState,
    decide,
    open_index,
    open_next,
    shown_hash,
    state_of,
)
from services.chassis.errors import AppError

PEOPLE = ("wang", "zhou", "li")


def order_steps(amount: str) -> tuple[Step, ...]:
    """Return the opened steps of an order of this amount."""
    flow = PRESETS[SubjectType.ORDER]
    steps = [
        Step(StepState.WAITING, (approver,), step.amount_from, step.amount_below)
        for step, approver in zip(flow, ("wang", "zhou"), strict=True)
    ]
    return open_next(steps, Decimal(amount))


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
    after = decide(order_steps(amount), Decimal(amount), 0, "wang", passed=True)
    assert after[1].state is second
    assert state_of(after) is (ApprovalState.OPEN if second is StepState.OPEN else ApprovalState.PASSED)


def test_a_rejection_ends_it_and_leaves_later_steps_unasked() -> None:
    after = decide(order_steps("20000"), Decimal("20000"), 0, "wang", passed=False)
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
        decide(order_steps("20000"), Decimal("20000"), index, decider, passed=True)


def test_what_is_shown_has_one_hash_in_its_order() -> None:
    shown = [("名称", "云海"), ("电话", "138****8000")]
    assert shown_hash(shown) == shown_hash(list(shown))
    assert shown_hash(shown) != shown_hash(shown[::-1])
    assert shown_hash([("a", "bc")]) != shown_hash([("ab", "c")])


@given(
    amounts=st.lists(st.sampled_from([None, "0", "5000", "10000"]), min_size=1, max_size=4),
    approvers=st.lists(st.sets(st.sampled_from(PEOPLE), min_size=1), min_size=4, max_size=4),
    amount=st.sampled_from(["0", "4999.99", "5000", "10000", "99999"]),
    attempts=st.lists(
        st.tuples(st.integers(-1, 4), st.sampled_from(PEOPLE), st.booleans()), min_size=1, max_size=30
    ),
)
def test_any_interleaving_of_decisions_decides_each_step_at_most_once_and_in_order(
    amounts: list[str | None],
    approvers: list[set[str]],
    amount: str,
    attempts: list[tuple[int, str, bool]],
) -> None:
    total = Decimal(amount)
    steps = open_next(
        [
            Step(StepState.WAITING, tuple(sorted(who)), Decimal(limit) if limit is not None else None)
            for limit, who in zip(amounts, approvers, strict=False)
        ],
        total,
    )
    accepted: list[int] = []
    for index, decider, passed in attempts:
        before = steps
        try:
            steps = decide(steps, total, index, decider, passed=passed)
        except AppError:
            continue
        accepted.append(index)
        assert before[index].state is StepState.OPEN
        assert decider in before[index].approver_ids
        # What was decided stays as it was decided.
        for old, new in zip(before, steps, strict=True):
            if old.state in DECIDED:
                assert new == old
        if not passed:
            assert state_of(steps) is ApprovalState.REJECTED
    assert accepted == sorted(set(accepted))
    assert sum(step.state is StepState.OPEN for step in steps) <= 1
    if state_of(steps) is ApprovalState.PASSED:
        assert all(step.state in (StepState.PASSED, StepState.AUTO_APPROVED) for step in steps)
        asked = [i for i, step in enumerate(steps) if step.amount_from is None or total >= step.amount_from]
        assert accepted == asked


def test_an_approval_whose_steps_are_all_below_their_limits_passes_by_itself() -> None:
    steps = open_next([replace(order_steps("1")[1], state=StepState.WAITING)], Decimal("1"))
    assert state_of(steps) is ApprovalState.PASSED
