"""The steps of one approval: which is open, who may decide it, and what follows from a decision."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.approvals.domain.flows import Mode, WhenEmpty
from services.chassis.errors import Forbidden, InvalidInput, RuleViolation


class StepState(StrEnum):
    """Life cycle of a step."""

    WAITING = "waiting"
    OPEN = "open"
    PASSED = "passed"
    REJECTED = "rejected"
    AUTO_APPROVED = "auto_approved"


class ApprovalState(StrEnum):
    """Life cycle of an approval. VOIDED: its subject changed before it was decided."""

    PREPARING = "preparing"
    OPEN = "open"
    PASSED = "passed"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    VOIDED = "voided"


class AutoReason(StrEnum):
    """Why the system ended a step: its condition did not hold, nobody fits it, its approvers passed an earlier one."""

    CONDITION = "condition"
    NOBODY = "nobody"
    REPEATED = "repeated"


# Nothing more comes of an approval that is not one of these.
UNDECIDED = (ApprovalState.PREPARING, ApprovalState.OPEN)


@dataclass(frozen=True)
class Step:
    """A step as the rules see it.

    approver_ids: who may act on it now, or would when its turn comes. seat_ids: whose consent is needed, in order,
    where all have to pass; none where one is enough. passed_ids: seats that have passed. decider_ids: who passed
    something here. asked: whether its condition holds. empty: what nobody's fitting it comes to, None where somebody
    does or stands in. repeat_passes: whoever passed an earlier step is not asked again.
    """

    state: StepState
    approver_ids: tuple[str, ...] = ()
    asked: bool = True
    mode: Mode = Mode.ANY
    seat_ids: tuple[str, ...] = ()
    passed_ids: tuple[str, ...] = ()
    decider_ids: tuple[str, ...] = ()
    empty: WhenEmpty | None = None
    repeat_passes: bool = False
    auto_reason: AutoReason | None = None


# Steps that a decision, of a person or of the system, has ended.
DECIDED = (StepState.PASSED, StepState.REJECTED, StepState.AUTO_APPROVED)


def shown_hash(shown: Sequence[tuple[str, str]]) -> str:
    """Return the SHA-256, in hexadecimal, of what approvers are shown: (name, value) in order."""
    return hashlib.sha256(json.dumps(list(shown), ensure_ascii=False).encode()).hexdigest()


def shown_changes(
    before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]
) -> list[tuple[str, str, str]]:
    """Return (name, value before, value after) of what two rounds show differently; "" for what is not there."""
    old, new = {row[0]: row[1] for row in before}, {row[0]: row[1] for row in after}
    names = dict.fromkeys([*new, *old])
    return [(name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name)]


def settle(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Bring steps as far as they go without anybody: the next one that has to be decided is open after it.

    What is not asked, whom nobody fits or who passed already is approved by the system on the way (F178), or the
    approval refused where its flow says so.
    """
    result = list(steps)
    earlier: set[str] = set()
    for index, step in enumerate(result):
        if step.state not in DECIDED:
            result[index] = _settled(step, earlier)
        if result[index].state in (StepState.OPEN, StepState.REJECTED):
            break
        earlier.update(step.decider_ids)
    return tuple(result)


def _settled(step: Step, earlier: set[str]) -> Step:
    """Return an undecided step whose turn it is: open, or ended by the system. earlier: who passed a step before."""
    if step.state is StepState.WAITING and not step.asked:
        return _ended(step, AutoReason.CONDITION)
    if step.empty is WhenEmpty.APPROVE and not step.passed_ids:
        return _ended(step, AutoReason.NOBODY)
    if step.empty is WhenEmpty.REFUSE and not step.passed_ids:
        return replace(step, state=StepState.REJECTED, auto_reason=AutoReason.NOBODY)
    known = earlier if step.repeat_passes else set()
    if not step.seat_ids:
        if known.intersection(step.approver_ids):
            return _ended(step, AutoReason.REPEATED)
        return replace(step, state=StepState.OPEN)
    left = [seat for seat in step.seat_ids if seat not in step.passed_ids and seat not in known]
    if not left:
        ended = _ended(step, AutoReason.REPEATED)
        return replace(ended, state=StepState.PASSED, auto_reason=None) if step.passed_ids else ended
    # Those who are asked besides the seats: whom it was escalated to.
    others = [person for person in step.approver_ids if person not in step.seat_ids]
    asked = left[:1] if step.mode is Mode.IN_TURN else left
    return replace(step, state=StepState.OPEN, approver_ids=tuple(asked + others))


def _ended(step: Step, reason: AutoReason) -> Step:
    return replace(step, state=StepState.AUTO_APPROVED, auto_reason=reason)


def decide(
    steps: Sequence[Step], index: int, decider_id: str, *, passed: bool, for_ids: Sequence[str] = ()
) -> tuple[tuple[Step, ...], str]:
    """Decide the open step, once for each of its seats, or once where one is enough (F171).

    for_ids: in whose place the decider may act too. Returns the steps after it, and in whose place it was. Raises
    InvalidInput STEP_UNKNOWN, Forbidden NOT_APPROVER, RuleViolation ALREADY_DECIDED or STEP_NOT_OPEN.
    """
    if not 0 <= index < len(steps):
        raise InvalidInput("step_index", "STEP_UNKNOWN", "没有该审批步骤", "There is no such step")
    step = steps[index]
    place = place_of(step, decider_id, for_ids)
    result = list(steps)
    if not passed:
        result[index] = replace(step, state=StepState.REJECTED)
        return tuple(result), place
    step = replace(step, decider_ids=(*step.decider_ids, decider_id))
    if place in step.seat_ids:
        step = replace(step, passed_ids=(*step.passed_ids, place))
    else:
        step = replace(step, state=StepState.PASSED)
    result[index] = step
    return settle(result), place


def place_of(step: Step, person_id: str, for_ids: Sequence[str] = ()) -> str:
    """Return in whose place a person may act on the open step: the own before those in for_ids.

    Raises Forbidden NOT_APPROVER, RuleViolation ALREADY_DECIDED or STEP_NOT_OPEN.
    """
    people = (person_id, *for_ids)
    concerned = {*step.approver_ids, *step.seat_ids}
    if not concerned.intersection(people):
        raise not_approver()
    if step.state in DECIDED or (step.state is StepState.OPEN and person_id in step.passed_ids):
        raise RuleViolation(
            "ALREADY_DECIDED", "该步骤已审批，不能重复操作", "This step has been decided already"
        )
    place = next((person for person in people if person in step.approver_ids), "")
    if step.state is not StepState.OPEN or not place:
        raise RuleViolation(
            "STEP_NOT_OPEN",
            "该步骤现在不能审批：还未轮到，或审批已撤回",
            "This step cannot be decided now: it is not its turn, or the approval was taken back",
        )
    return place


def check_delegate(step: Step, from_id: str, to_id: str, submitter_id: str) -> None:
    """Raise unless an approver of the open step may put another in the own place.

    Forbidden NOT_APPROVER, RuleViolation ALREADY_DECIDED or STEP_NOT_OPEN, InvalidInput DELEGATE_INVALID when the
    other is the submitter or an approver already.
    """
    place_of(step, from_id)
    if to_id == submitter_id or to_id in (*step.approver_ids, *step.seat_ids):
        raise InvalidInput(
            "to_person_id",
            "DELEGATE_INVALID",
            "不能转交给提交人或已在审批的人",
            "Neither the submitter nor an approver can be asked instead",
        )


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
