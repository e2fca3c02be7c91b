"""The steps of one approval: which is open, who may decide it, and what follows from a decision."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from services.chassis.errors import Forbidden, InvalidInput, RuleViolation


class StepState(StrEnum):
    """Life cycle of a step."""

    WAITING = "waiting"
    OPEN = "open"
    PASSED = "passed"
    REJECTED = "rejected"
    AUTO_APPROVED = "auto_approved"


class ApprovalState(StrEnum):
    """Life cycle of an approval."""

    PREPARING = "preparing"
    OPEN = "open"
    PASSED = "passed"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


# Nothing more comes of an approval that is not one of these.
UNDECIDED = (ApprovalState.PREPARING, ApprovalState.OPEN)


@dataclass(frozen=True)
class Step:
    """A step as the rules see it. amount_from, amount_below: see FlowStep."""

    state: StepState
    approver_ids: tuple[str, ...] = ()
    amount_from: Decimal | None = None
    amount_below: Decimal | None = None


# Steps that a decision, of a person or of the system, has ended.
DECIDED = (StepState.PASSED, StepState.REJECTED, StepState.AUTO_APPROVED)


def shown_hash(shown: Sequence[tuple[str, str]]) -> str:
    """Return the SHA-256, in hexadecimal, of what approvers are shown: (name, value) in order."""
    return hashlib.sha256(json.dumps(list(shown), ensure_ascii=False).encode()).hexdigest()


def is_asked(amount_from: Decimal | None, amount_below: Decimal | None, amount: Decimal | None) -> bool:
    """Return whether a step is asked for an amount (O1: from exactly the limit on); without an amount it is."""
    if amount is None:
        return True
    return (amount_from is None or amount >= amount_from) and (amount_below is None or amount < amount_below)


def open_next(steps: Sequence[Step], amount: Decimal | None) -> tuple[Step, ...]:
    """Open the next waiting step that is asked; those before it that are not are approved by the system (F178)."""
    result = list(steps)
    for index, step in enumerate(result):
        if step.state is StepState.WAITING:
            if is_asked(step.amount_from, step.amount_below, amount):
                result[index] = replace(step, state=StepState.OPEN)
                break
            result[index] = replace(step, state=StepState.AUTO_APPROVED)
    return tuple(result)


def decide(
    steps: Sequence[Step], amount: Decimal | None, index: int, decider_id: str, *, passed: bool
) -> tuple[Step, ...]:
    """Return the steps after a decision; a rejection leaves later steps waiting for ever.

    Raises InvalidInput STEP_UNKNOWN, Forbidden NOT_APPROVER, RuleViolation ALREADY_DECIDED or STEP_NOT_OPEN.
    """
    if not 0 <= index < len(steps):
        raise InvalidInput("step_index", "STEP_UNKNOWN", "没有该审批步骤", "There is no such step")
    check_asked(steps[index], decider_id)
    step = steps[index]
    result = list(steps)
    result[index] = replace(step, state=StepState.PASSED if passed else StepState.REJECTED)
    return open_next(result, amount) if passed else tuple(result)


def delegate(step: Step, from_id: str, to_id: str, submitter_id: str) -> Step:
    """Return the open step with one approver in another's place.

    Raises Forbidden NOT_APPROVER, RuleViolation ALREADY_DECIDED or STEP_NOT_OPEN, InvalidInput DELEGATE_INVALID when
    the other is the submitter or an approver already.
    """
    check_asked(step, from_id)
    if to_id == submitter_id or to_id in step.approver_ids:
        raise InvalidInput(
            "to_person_id",
            "DELEGATE_INVALID",
            "不能转交给提交人或已在审批的人",
            "Neither the submitter nor an approver can be asked instead",
        )
    return replace(
        step, approver_ids=tuple(to_id if person == from_id else person for person in step.approver_ids)
    )


def check_asked(step: Step, person_id: str) -> None:
    """Raise unless this step waits for this person: NOT_APPROVER, ALREADY_DECIDED or STEP_NOT_OPEN."""
    if person_id not in step.approver_ids:
        raise not_approver()
    if step.state in DECIDED:
        raise RuleViolation(
            "ALREADY_DECIDED", "该步骤已审批，不能重复操作", "This step has been decided already"
        )
    if step.state is not StepState.OPEN:
        raise RuleViolation("STEP_NOT_OPEN", "还未轮到该步骤", "It is not this step's turn")


def not_approver() -> Forbidden:
    """Return the refusal for whoever is no approver of a step."""
    return Forbidden("NOT_APPROVER", "您不是该步骤的审批人", "You are not an approver of this step")


def state_of(steps: Sequence[Step]) -> ApprovalState:
    """Return what the steps of a prepared approval come to."""
    states = {step.state for step in steps}
    if StepState.REJECTED in states:
        return ApprovalState.REJECTED
    return ApprovalState.OPEN if StepState.OPEN in states else ApprovalState.PASSED


def open_index(steps: Sequence[Step]) -> int:
    """Return the index of the open step, -1 if none is."""
    return next((index for index, step in enumerate(steps) if step.state is StepState.OPEN), -1)
