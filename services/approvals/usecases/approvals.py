"""Take submissions in, open their steps, decide them, remind of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.approvals.domain import steps as rules
from services.approvals.domain.flows import FlowStep, SubjectType, check_flow
from services.approvals.domain.steps import ApprovalState, StepState, shown_hash
from services.approvals.store import queries
from services.approvals.store.queries import Whole
from services.approvals.store.tables import Approval, Decision, Delegation, Step
from services.approvals.usecases.approvers import Approvers, StepToAsk
from services.approvals.workflows.contracts import (
    ADVANCED,
    FINISHED,
    QUEUE,
    STEP_TIME_LIMIT_S,
    WORKFLOW,
    ApprovalStart,
    approval_workflow_id,
)
from services.chassis.db import Transaction, WorkflowSignal, WorkflowStart
from services.chassis.errors import Conflict, InvalidInput, RuleViolation, not_found

LONGEST_COMMENT = 500
# Behind the name of a step that administrators decide because nobody fits it.
STAND_IN_NOTE = "（无人可审，由管理员代审）"


@dataclass(frozen=True)
class Submission:
    """A subject to be approved.

    chosen_approver_id: whom the submitter chose, "" for nobody. amount: CNY, None where there is none. shown: (name,
    value) in order, what approvers see.
    """

    approval_id: str
    subject_type: SubjectType
    subject_id: str
    title: str
    submitter_id: str
    chosen_approver_id: str
    amount: Decimal | None
    shown: Sequence[tuple[str, str]]


def submit(tx: Transaction, given: Submission) -> None:
    """Begin an approval; its workflow finds the approvers."""
    flow, flow_version = queries.flow(tx, given.subject_type)
    approval = Approval(
        id=given.approval_id,
        tenant_id=tx.tenant.id,
        subject_type=given.subject_type,
        subject_id=given.subject_id,
        title=given.title,
        submitter_id=given.submitter_id,
        chosen_approver_id=given.chosen_approver_id or None,
        amount=given.amount,
        shown=[list(field) for field in given.shown],
        shown_hash=shown_hash(given.shown),
        state=ApprovalState.PREPARING,
        open_step=-1,
        reminders=0,
        flow_version=flow_version,
        version=1,
        create_time=tx.now,
    )
    tx.session.add(approval)
    tx.session.flush()
    tx.session.add_all(
        Step(
            approval_id=approval.id,
            step_index=index,
            tenant_id=tx.tenant.id,
            name=step.name,
            role=step.roles[0] if step.roles else "",
            roles=list(step.roles),
            person_ids=list(step.person_ids),
            amount_from=step.amount_from,
            amount_below=step.amount_below,
            time_limit_s=int(step.time_limit.total_seconds()),
            escalate_role=step.escalate_role,
            escalated=False,
            approver_ids=[],
            state=StepState.WAITING,
        )
        for index, step in enumerate(flow)
    )
    _tell_changed(tx, Whole(approval, (), {}))
    tx.start_workflow(
        WorkflowStart(
            WORKFLOW,
            approval_workflow_id(approval.id),
            QUEUE,
            ApprovalStart(
                tx.tenant,
                approval.id,
                STEP_TIME_LIMIT_S,
                [int(step.time_limit.total_seconds()) for step in flow],
            ),
        )
    )


def steps_to_prepare(tx: Transaction, approval_id: str) -> tuple[str, list[StepToAsk]]:
    """Return the submitter and the steps that need approvers; none once the approval is prepared."""
    found = queries.whole(tx, approval_id)
    if found.approval.state != ApprovalState.PREPARING:
        return found.approval.submitter_id, []
    amount = found.approval.amount
    asked = [step for step in found.steps if rules.is_asked(step.amount_from, step.amount_below, amount)]
    return found.approval.submitter_id, [_to_ask(found.approval, step) for step in asked]


def prepare(tx: Transaction, approval_id: str, approvers: Mapping[int, Approvers]) -> int:
    """Give the steps their approvers and open the first; an approval that is prepared already stays.

    Returns the open step's index, -1 if none is.
    """
    found = queries.whole(tx, approval_id, lock=True)
    if found.approval.state == ApprovalState.PREPARING:
        for step in found.steps:
            if step.step_index in approvers:
                _appoint(step, approvers[step.step_index])
        _move(tx, found, rules.open_next(_as_rules(found.steps), found.approval.amount))
    return found.approval.open_step


def decide(
    tx: Transaction,
    approval_id: str,
    *,
    step_index: int,
    decider_id: str,
    quoted_hash: str,
    comment: str,
    passed: bool,
) -> Whole:
    """Pass or reject the open step (F171).

    Raises NotFound, Forbidden NOT_APPROVER, RuleViolation ALREADY_DECIDED, STEP_NOT_OPEN or SHOWN_CHANGED,
    InvalidInput STEP_UNKNOWN or COMMENT_LENGTH.
    """
    _check_comment(comment)
    found = queries.whole(tx, approval_id, lock=True)
    approval = found.approval
    after = rules.decide(_as_rules(found.steps), approval.amount, step_index, decider_id, passed=passed)
    if quoted_hash != approval.shown_hash:
        raise RuleViolation(
            "SHOWN_CHANGED",
            "审批内容与您看到的不一致，请刷新后重试",
            "What is to be approved is not what you saw; reload and try again",
        )
    decision = Decision(
        approval_id=approval.id,
        step_index=step_index,
        tenant_id=tx.tenant.id,
        decider_id=decider_id,
        passed=passed,
        shown_hash=quoted_hash,
        comment=comment.strip(),
        create_time=tx.now,
    )
    tx.session.add(decision)
    found.decisions[step_index] = decision
    _move(tx, found, after, decision)
    return found


def delegate(
    tx: Transaction, approval_id: str, *, step_index: int, from_id: str, to_id: str, may: bool, comment: str
) -> Whole:
    """Put somebody else in an approver's place for the open step.

    may: whether the other is active and may decide. Raises NotFound, Forbidden NOT_APPROVER, RuleViolation
    ALREADY_DECIDED, STEP_NOT_OPEN or DELEGATE_CANNOT_DECIDE, InvalidInput STEP_UNKNOWN, DELEGATE_INVALID or
    COMMENT_LENGTH.
    """
    _check_comment(comment)
    found = queries.whole(tx, approval_id, lock=True)
    approval = found.approval
    if not 0 <= step_index < len(found.steps):
        raise InvalidInput("step_index", "STEP_UNKNOWN", "没有该审批步骤", "There is no such step")
    step = found.steps[step_index]
    after = rules.delegate(_as_rules([step])[0], from_id, to_id, approval.submitter_id)
    if not may:
        raise RuleViolation(
            "DELEGATE_CANNOT_DECIDE",
            "对方没有审批权限或已停用",
            "That person may not decide approvals, or is disabled",
        )
    row = Delegation(
        tenant_id=tx.tenant.id,
        approval_id=approval.id,
        step_index=step_index,
        from_person_id=from_id,
        to_person_id=to_id,
        comment=comment.strip(),
        create_time=tx.now,
    )
    tx.session.add(row)
    found.delegations.setdefault(step_index, []).append(row)
    step.approver_ids = list(after.approver_ids)
    approval.version += 1
    tx.emit(
        "approval_step_opened",
        approval.id,
        approval.version,
        {**_facts(approval, step), "approverIds": [to_id]},
    )
    _tell_changed(tx, found)
    return found


def withdraw(tx: Transaction, approval_id: str, submitter_id: str) -> Whole:
    """Take an own submission back while it is not decided; raises NotFound, RuleViolation ALREADY_DECIDED."""
    found = queries.whole(tx, approval_id, lock=True)
    approval = found.approval
    if approval.submitter_id != submitter_id:
        raise not_found("approval", "审批", approval_id)
    if approval.state not in rules.UNDECIDED:
        raise RuleViolation("ALREADY_DECIDED", "审批已结束，不能撤回", "It has been decided already")
    if approval.open_step >= 0:
        found.steps[approval.open_step].state = StepState.WAITING
    approval.state = ApprovalState.WITHDRAWN
    approval.open_step = -1
    approval.version += 1
    tx.emit(
        "approval_withdrawn",
        approval.id,
        approval.version,
        {
            "approvalId": approval.id,
            "subjectType": approval.subject_type,
            "subjectId": approval.subject_id,
            "submitterId": approval.submitter_id,
        },
    )
    _tell_changed(tx, found)
    tx.signal_workflow(WorkflowSignal(approval_workflow_id(approval.id), FINISHED))
    return found


def update_flow(
    tx: Transaction, subject_type: SubjectType, steps: Sequence[FlowStep], version: int, actor_id: str
) -> int:
    """Set a flow's steps and return its new version; approvals that run keep those they began with (F177).

    Raises what `check_flow` does, Conflict FLOW_CHANGED when `version` is not the one of now.
    """
    steps = check_flow(subject_type, steps)
    _, current = queries.flow(tx, subject_type, lock=True)
    if version != current:
        raise Conflict(
            "FLOW_CHANGED", "流程已被他人修改，请刷新后重试", "The flow was changed meanwhile; reload"
        )
    queries.set_flow(tx, subject_type, steps, current + 1, actor_id)
    return current + 1


def step_to_remind(tx: Transaction, approval_id: str) -> tuple[str, StepToAsk | None]:
    """Return the submitter and the open step, None when none is open."""
    found = queries.whole(tx, approval_id)
    if found.approval.open_step < 0:
        return found.approval.submitter_id, None
    step = found.steps[found.approval.open_step]
    # It has waited long enough: whoever it is escalated to is asked too.
    return found.approval.submitter_id, _to_ask(found.approval, step, step.escalate_role)


def remind(tx: Transaction, approval_id: str, number: int, step_index: int, approvers: Approvers) -> int:
    """Say that the open step waits too long, once for each number; whoever fits it now is its approver.

    number: of the reminder in this approval, from 1 on. Returns the open step's index, -1 if none is.
    """
    found = queries.whole(tx, approval_id, lock=True)
    approval = found.approval
    if approval.open_step != step_index or approval.reminders >= number:
        return approval.open_step
    step = found.steps[step_index]
    _appoint(step, approvers, found.delegations.get(step_index, ()))
    step.escalated = bool(step.escalate_role)
    approval.reminders = number
    approval.version += 1
    tx.emit("approval_step_overdue", approval.id, approval.version, _facts(approval, step))
    _tell_changed(tx, found)
    return approval.open_step


def _check_comment(comment: str) -> None:
    if len(comment) > LONGEST_COMMENT:
        raise InvalidInput(
            "comment",
            "COMMENT_LENGTH",
            "审批意见不能超过{longest}字",
            "A comment has at most {longest} characters",
            longest=LONGEST_COMMENT,
        )


def _to_ask(approval: Approval, step: Step, escalate_role: str = "") -> StepToAsk:
    return StepToAsk(
        step.step_index,
        tuple(step.roles),
        approval.chosen_approver_id or "",
        tuple(step.person_ids),
        escalate_role,
    )


def _appoint(step: Step, approvers: Approvers, delegations: Sequence[Delegation] = ()) -> None:
    people = list(approvers.person_ids)
    for row in delegations:
        people = [row.to_person_id if person == row.from_person_id else person for person in people]
    step.approver_ids = list(dict.fromkeys(people))
    step.name = step.name.removesuffix(STAND_IN_NOTE) + (STAND_IN_NOTE if approvers.standing_in else "")


def _as_rules(steps: Sequence[Step]) -> list[rules.Step]:
    return [
        rules.Step(StepState(step.state), tuple(step.approver_ids), step.amount_from, step.amount_below)
        for step in steps
    ]


def _move(
    tx: Transaction, found: Whole, after: Sequence[rules.Step], decision: Decision | None = None
) -> None:
    """Bring the rows to what the rules say came out, tell others, and let the workflow go on."""
    approval = found.approval
    for step, ruled in zip(found.steps, after, strict=True):
        if step.state != ruled.state:
            step.state = ruled.state
            step.decide_time = tx.now if ruled.state in rules.DECIDED else None
    approval.state = rules.state_of(after)
    approval.open_step = rules.open_index(after)
    approval.version += 1
    if approval.state == ApprovalState.OPEN:
        tx.emit(
            "approval_step_opened",
            approval.id,
            approval.version,
            _facts(approval, found.steps[approval.open_step]),
        )
    else:
        tx.emit(
            "approval_passed" if approval.state == ApprovalState.PASSED else "approval_rejected",
            approval.id,
            approval.version,
            {
                "approvalId": approval.id,
                "subjectType": approval.subject_type,
                "subjectId": approval.subject_id,
                "title": approval.title,
                "submitterId": approval.submitter_id,
                "deciderId": decision.decider_id if decision else "",
                "comment": decision.comment if decision else "",
            },
        )
    _tell_changed(tx, found)
    if decision:
        signal = ADVANCED if approval.state == ApprovalState.OPEN else FINISHED
        tx.signal_workflow(WorkflowSignal(approval_workflow_id(approval.id), signal, approval.open_step))


def _facts(approval: Approval, step: Step) -> dict[str, object]:
    return {
        "approvalId": approval.id,
        "subjectType": approval.subject_type,
        "subjectId": approval.subject_id,
        "title": approval.title,
        "stepName": step.name,
        "approverIds": list(step.approver_ids),
        "submitterId": approval.submitter_id,
    }


def _tell_changed(tx: Transaction, found: Whole) -> None:
    concerned = {found.approval.submitter_id}.union(*(step.approver_ids for step in found.steps))
    tx.emit(
        "approval_changed",
        found.approval.id,
        found.approval.version,
        {"approvalId": found.approval.id, "personIds": sorted(concerned)},
    )
