"""Take submissions in, open their steps, decide them, remind of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from services.approvals.domain import steps as rules
from services.approvals.domain.flows import (
    FlowRules,
    FlowStep,
    Mode,
    Recall,
    Repeat,
    Subject,
    SubjectType,
    WhenEmpty,
    check_flow,
    is_asked,
)
from services.approvals.domain.steps import ApprovalState, StepState, shown_hash
from services.approvals.store import queries
from services.approvals.store.queries import Whole
from services.approvals.store.tables import Approval, Decision, Delegation, Step
from services.approvals.usecases.approvers import Approvers, StepToAsk
from services.approvals.workflows.contracts import (
    ADVANCED,
    FINISHED,
    PEOPLE_CHANGED,
    QUEUE,
    STEP_TIME_LIMIT_S,
    WORKFLOW,
    ApprovalStart,
    approval_workflow_id,
)
from services.chassis.db import Transaction, WorkflowSignal, WorkflowStart
from services.chassis.errors import Conflict, InvalidInput, RuleViolation, not_found

LONGEST_COMMENT = 500
# A new deputy is told of this many approvals that wait already; the inbox has them all.
MOST_TOLD = 200
# Behind the name of a step that others decide because nobody fits it.
STAND_IN_NOTE = "（无人可审，由管理员代审）"
NAMED_NOTE = "（无人可审，由指定人代审）"
# The comment of an approval that the system rejects.
NOBODY_FITS = "无人可审，按流程设置驳回"


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


def submit(tx: Transaction, given: Submission) -> Whole:
    """Begin an approval; its workflow finds the approvers.

    Where the subject waits for a decision already, it has changed: that round is void, and this is another.
    """
    running = queries.undecided(tx, given.subject_type, given.subject_id)
    if running:
        _end(tx, running, ApprovalState.VOIDED, "approval_voided")
        tx.session.flush()
    flow = queries.flow(tx, given.subject_type)
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
        flow_version=flow.version,
        rules=queries.pack_rules(flow.rules),
        version=1,
        create_time=tx.now,
    )
    tx.session.add(approval)
    tx.session.flush()
    steps = tuple(
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
            spec=queries.pack_step(step),
            approver_ids=[],
            seat_ids=[],
            state=StepState.WAITING,
            auto_reason="",
        )
        for index, step in enumerate(flow.steps)
    )
    tx.session.add_all(steps)
    found = Whole(approval, steps)
    _tell_changed(tx, found)
    tx.start_workflow(_workflow(tx, found))
    return found


def workflow_of(tx: Transaction, approval_id: str) -> WorkflowStart:
    """Return what starts the workflow of an approval; raises NotFound."""
    return _workflow(tx, queries.whole(tx, approval_id))


def _workflow(tx: Transaction, found: Whole) -> WorkflowStart:
    approval_id = found.approval.id
    limits = [queries.flow_step(step).time_limit for step in found.steps]
    start = ApprovalStart(
        tx.tenant, approval_id, STEP_TIME_LIMIT_S, [int(limit.total_seconds()) for limit in limits]
    )
    return WorkflowStart(WORKFLOW, approval_workflow_id(approval_id), QUEUE, start)


def steps_to_prepare(tx: Transaction, approval_id: str) -> tuple[str, list[StepToAsk]]:
    """Return the submitter and the steps that need approvers; none once the approval is prepared."""
    found = queries.whole(tx, approval_id)
    if found.approval.state != ApprovalState.PREPARING:
        return found.approval.submitter_id, []
    return found.approval.submitter_id, _to_ask(found)


def prepare(tx: Transaction, approval_id: str, approvers: Mapping[int, Approvers]) -> int:
    """Give the steps their approvers and open the first; an approval that is prepared already stays.

    Returns the open step's index, -1 if none is.
    """
    found = queries.whole(tx, approval_id, lock=True)
    if found.approval.state == ApprovalState.PREPARING:
        before = _asked_now(found)
        for index, those in approvers.items():
            _appoint(found, index, those)
        _move(tx, found, rules.settle(_as_rules(found)), before)
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
    """Pass or reject the open step, for oneself or for somebody whose deputy one is (F171).

    Raises NotFound, Forbidden NOT_APPROVER, RuleViolation ALREADY_DECIDED, STEP_NOT_OPEN or SHOWN_CHANGED,
    InvalidInput STEP_UNKNOWN or COMMENT_LENGTH.
    """
    _check_comment(comment)
    found = queries.whole(tx, approval_id, lock=True)
    approval = found.approval
    for_ids = principals(tx, found, decider_id)
    after, place = rules.decide(_as_rules(found), step_index, decider_id, passed=passed, for_ids=for_ids)
    if quoted_hash != approval.shown_hash:
        raise RuleViolation(
            "SHOWN_CHANGED",
            "审批内容与您看到的不一致，请刷新后重试",
            "What is to be approved is not what you saw; reload and try again",
        )
    before = _asked_now(found)
    decision = Decision(
        approval_id=approval.id,
        step_index=step_index,
        seat=place if place in found.steps[step_index].seat_ids else "",
        tenant_id=tx.tenant.id,
        decider_id=decider_id,
        for_person_id=place if place != decider_id else None,
        passed=passed,
        shown_hash=quoted_hash,
        comment=comment.strip(),
        create_time=tx.now,
    )
    tx.session.add(decision)
    found.decisions.setdefault(step_index, []).append(decision)
    _let_go_on(tx, found, _move(tx, found, after, before, decision))
    return found


def principals(tx: Transaction, found: Whole, person_id: str) -> list[str]:
    """Return in whose place a person may decide an approval; nobody's for an own submission."""
    return [] if person_id == found.approval.submitter_id else queries.principals(tx, person_id)


def place_in(found: Whole, person_id: str, for_ids: Sequence[str]) -> str:
    """Return in whose place a person may decide the open step now, "" in nobody's."""
    if found.approval.open_step < 0:
        return ""
    asked = found.steps[found.approval.open_step].approver_ids
    return next((person for person in (person_id, *for_ids) if person in asked), "")


def was_shown(found: Whole, person_id: str) -> bool:
    """Return whether somebody has seen a round: decided it, or was asked to when it ended."""
    for step in found.steps:
        rows = found.decisions.get(step.step_index, ())
        if any(row.decider_id == person_id for row in rows):
            return True
        if step.state not in rules.DECIDED:
            # The first that nobody decided was open, and nothing behind it.
            return person_id in step.approver_ids
        if person_id in step.seat_ids or (step.state == StepState.PASSED and person_id in step.approver_ids):
            return True
    return False


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
    rules.check_delegate(_as_rules(found)[step_index], from_id, to_id, approval.submitter_id)
    check_may_decide(may)
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
    before = _asked_now(found)
    step.approver_ids = [to_id if person == from_id else person for person in step.approver_ids]
    step.seat_ids = [to_id if person == from_id else person for person in step.seat_ids]
    _let_go_on(tx, found, _move(tx, found, rules.settle(_as_rules(found)), before))
    return found


def check_may_decide(may: bool) -> None:
    """Raise RuleViolation DELEGATE_CANNOT_DECIDE for somebody who is disabled or may not decide."""
    if not may:
        raise RuleViolation(
            "DELEGATE_CANNOT_DECIDE",
            "对方没有审批权限或已停用",
            "That person may not decide approvals, or is disabled",
        )


def withdraw(tx: Transaction, approval_id: str, submitter_id: str) -> Whole:
    """Take an own submission back while its flow lets it.

    Raises NotFound, RuleViolation ALREADY_DECIDED or RECALL_REFUSED.
    """
    found = queries.whole(tx, approval_id, lock=True)
    approval = found.approval
    if approval.submitter_id != submitter_id:
        raise not_found("approval", "审批", approval_id)
    if approval.state not in rules.UNDECIDED:
        raise RuleViolation("ALREADY_DECIDED", "审批已结束，不能撤回", "It has been decided already")
    if not may_recall(found):
        raise RuleViolation(
            "RECALL_REFUSED",
            "该流程不允许撤回，或已有人审批",
            "Its flow lets nobody take it back, or somebody has decided already",
        )
    _end(tx, found, ApprovalState.WITHDRAWN, "approval_withdrawn")
    return found


def may_recall(found: Whole) -> bool:
    """Return whether the submitter may take an undecided approval back: its flow says so, or nobody was asked yet."""
    if found.approval.state == ApprovalState.PREPARING:
        return True
    recall = queries.unpack_rules(found.approval.rules).recall
    return recall is Recall.UNDECIDED or (recall is Recall.UNTOUCHED and not any(found.decisions.values()))


def update_flow(
    tx: Transaction,
    subject_type: SubjectType,
    steps: Sequence[FlowStep],
    flow_rules: FlowRules,
    version: int,
    actor_id: str,
) -> int:
    """Set a flow and return its new version; approvals that run keep what they began with (F177).

    Raises what `check_flow` does, Conflict FLOW_CHANGED when `version` is not the one of now.
    """
    steps = check_flow(subject_type, steps)
    current = queries.flow(tx, subject_type, lock=True).version
    if version != current:
        raise Conflict(
            "FLOW_CHANGED", "流程已被他人修改，请刷新后重试", "The flow was changed meanwhile; reload"
        )
    queries.set_flow(tx, subject_type, steps, flow_rules, current + 1, actor_id)
    return current + 1


def step_to_remind(tx: Transaction, approval_id: str) -> tuple[str, StepToAsk | None]:
    """Return the submitter and the open step, None when none is open."""
    found = queries.whole(tx, approval_id)
    open_step = found.approval.open_step
    asked = next((each for each in _to_ask(found) if each.index == open_step), None)
    # It has waited long enough: whoever it is escalated to is asked too.
    return found.approval.submitter_id, replace(asked, overdue=True) if asked else None


def remind(tx: Transaction, approval_id: str, number: int, step_index: int, approvers: Approvers) -> int:
    """Say that the open step waits too long, once for each number; whoever fits it now is its approver.

    number: of the reminder in this approval, from 1 on. Returns the open step's index, -1 if none is.
    """
    found = queries.whole(tx, approval_id, lock=True)
    approval = found.approval
    if approval.open_step != step_index or approval.reminders >= number:
        return approval.open_step
    step = found.steps[step_index]
    step.escalated = bool(queries.flow_step(step).escalate_role)
    approval.reminders = number
    _appoint(found, step_index, approvers)
    # Everybody is told that it is overdue; that it opened, those who were asked before know, and the others as well.
    _move(tx, found, rules.settle(_as_rules(found)), _asked_now(found))
    if approval.open_step == step_index:
        tx.emit("approval_step_overdue", approval.id, approval.version, _facts(tx, approval, step))
    return approval.open_step


def steps_to_refresh(tx: Transaction, approval_id: str) -> tuple[str, list[StepToAsk]]:
    """Return the submitter and the steps of a prepared approval that are still to be decided."""
    found = queries.whole(tx, approval_id)
    return found.approval.submitter_id, _to_ask(found) if found.approval.open_step >= 0 else []


def refresh(tx: Transaction, approval_id: str, approvers: Mapping[int, Approvers]) -> int:
    """Let whoever fits the steps now decide what is not decided: an approver left, or may not decide any more.

    What was decided stays. Returns the open step's index, -1 if none is.
    """
    found = queries.whole(tx, approval_id, lock=True)
    if found.approval.open_step >= 0:
        before = _asked_now(found)
        for index, those in approvers.items():
            if found.steps[index].state not in rules.DECIDED:
                _appoint(found, index, those)
        _move(tx, found, rules.settle(_as_rules(found)), before)
    return found.approval.open_step


def notice_person(tx: Transaction, person_id: str, *, may_decide: bool) -> None:
    """Have the approvers found anew of whatever waits for somebody who cannot decide any more."""
    if may_decide:
        return
    for approval_id in queries.in_hands_of(tx, person_id):
        tx.signal_workflow(WorkflowSignal(approval_workflow_id(approval_id), PEOPLE_CHANGED))


def tell_deputy(tx: Transaction, person_id: str, deputy_id: str) -> None:
    """Tell a deputy of everything that waits for the person already."""
    for found in queries.listed(tx, queries.View.INBOX, person_id, None, MOST_TOLD):
        if found.approval.submitter_id != deputy_id:
            step = found.steps[found.approval.open_step]
            facts = {**_facts(tx, found.approval, step), "approverIds": [deputy_id]}
            tx.emit("approval_step_opened", found.approval.id, found.approval.version, facts)
            _tell_changed(tx, found)


def _check_comment(comment: str) -> None:
    if len(comment) > LONGEST_COMMENT:
        raise InvalidInput(
            "comment",
            "COMMENT_LENGTH",
            "审批意见不能超过{longest}字",
            "A comment has at most {longest} characters",
            longest=LONGEST_COMMENT,
        )


def subject_of(approval: Approval) -> Subject:
    """Return what the conditions of an approval's flow ask about."""
    return Subject(SubjectType(approval.subject_type), approval.submitter_id, approval.amount, approval.shown)


def _is_asked(found: Whole, step: Step) -> bool:
    # As of its submission: what was not asked at first is not asked later either, when nobody was found for it.
    approval = found.approval
    return is_asked(queries.flow_step(step), subject_of(approval), approval.create_time)


def _to_ask(found: Whole) -> list[StepToAsk]:
    """Return the undecided steps whose conditions hold."""
    return [
        StepToAsk(
            step.step_index,
            queries.flow_step(step),
            found.approval.chosen_approver_id or "",
            step.escalated,
            tuple(
                (row.from_person_id, row.to_person_id) for row in found.delegations.get(step.step_index, ())
            ),
        )
        for step in found.steps
        if step.state not in rules.DECIDED and _is_asked(found, step)
    ]


def _appoint(found: Whole, index: int, approvers: Approvers) -> None:
    """Write a step's approvers down; seats that have passed stay."""
    step = found.steps[index]
    people = list(approvers.person_ids)
    # Handed on while the approvers were looked for.
    for row in found.delegations.get(index, [])[approvers.handed_count :]:
        people = [row.to_person_id if person == row.from_person_id else person for person in people]
    people = list(dict.fromkeys(people))
    seats = [row.seat for row in found.decisions.get(index, ()) if row.passed and row.seat]
    if queries.flow_step(step).mode is not Mode.ANY and approvers.standing_in is None:
        seats += [person for person in people if person not in seats]
    step.seat_ids = seats
    step.approver_ids = [*people, *(person for person in approvers.escalated_ids if person not in people)]
    name = step.name.removesuffix(STAND_IN_NOTE).removesuffix(NAMED_NOTE)
    step.name = name + stand_in_note(approvers)


def stand_in_note(approvers: Approvers) -> str:
    """Return what stands behind the name of a step that others decide because nobody fits it, else ""."""
    if approvers.standing_in is None:
        return ""
    return NAMED_NOTE if approvers.standing_in is WhenEmpty.NAMED else STAND_IN_NOTE


def _as_rules(found: Whole) -> list[rules.Step]:
    repeat_passes = queries.unpack_rules(found.approval.rules).repeat is Repeat.SKIP
    result = []
    for step in found.steps:
        flow_step = queries.flow_step(step)
        passed = [row for row in found.decisions.get(step.step_index, ()) if row.passed]
        result.append(
            rules.Step(
                StepState(step.state),
                tuple(step.approver_ids),
                asked=_is_asked(found, step),
                mode=flow_step.mode,
                seat_ids=tuple(step.seat_ids),
                passed_ids=tuple(row.seat for row in passed if row.seat),
                decider_ids=tuple(row.decider_id for row in passed),
                empty=flow_step.when_empty if not step.approver_ids else None,
                repeat_passes=repeat_passes,
                auto_reason=rules.AutoReason(step.auto_reason) if step.auto_reason else None,
            )
        )
    return result


def _asked_now(found: Whole) -> tuple[int, frozenset[str]]:
    """Return the open step and who is asked to decide it; -1 and nobody if none is open."""
    index = found.approval.open_step
    return index, frozenset(found.steps[index].approver_ids if index >= 0 else ())


def _move(
    tx: Transaction,
    found: Whole,
    after: Sequence[rules.Step],
    before: tuple[int, frozenset[str]],
    decision: Decision | None = None,
) -> list[str]:
    """Bring the rows to what the rules say came out, and tell others; return who is asked anew.

    before: what `_asked_now` said before the change.
    """
    approval = found.approval
    for step, ruled in zip(found.steps, after, strict=True):
        if step.state != ruled.state:
            step.state = ruled.state
            step.auto_reason = ruled.auto_reason or ""
            step.decide_time = tx.now if ruled.state in rules.DECIDED else None
        if ruled.state is StepState.OPEN:
            step.approver_ids = list(ruled.approver_ids)
    approval.state = rules.state_of(after)
    approval.open_step = rules.open_index(after)
    approval.version += 1
    news: list[str] = []
    if approval.state == ApprovalState.OPEN:
        step = found.steps[approval.open_step]
        known = before[1] if before[0] == approval.open_step else frozenset[str]()
        news = [person for person in step.approver_ids if person not in known]
        if news:
            facts = {**_facts(tx, approval, step), "approverIds": _with_deputies(tx, approval, news)}
            tx.emit("approval_step_opened", approval.id, approval.version, facts)
    else:
        rejected = approval.state == ApprovalState.REJECTED
        tx.emit(
            "approval_rejected" if rejected else "approval_passed",
            approval.id,
            approval.version,
            {
                "approvalId": approval.id,
                "subjectType": approval.subject_type,
                "subjectId": approval.subject_id,
                "title": approval.title,
                "submitterId": approval.submitter_id,
                "deciderId": decision.decider_id if decision else "",
                "comment": decision.comment if decision else NOBODY_FITS if rejected else "",
            },
        )
    _tell_changed(tx, found)
    return news


def _let_go_on(tx: Transaction, found: Whole, news: Sequence[str]) -> None:
    """Tell the workflow what somebody's act came to. news: who is asked anew, whose time begins."""
    approval = found.approval
    if approval.state != ApprovalState.OPEN:
        tx.signal_workflow(WorkflowSignal(approval_workflow_id(approval.id), FINISHED, approval.open_step))
    elif news:
        tx.signal_workflow(WorkflowSignal(approval_workflow_id(approval.id), ADVANCED, approval.open_step))


def _end(tx: Transaction, found: Whole, state: ApprovalState, event: str) -> None:
    """End an undecided approval without a decision, and its workflow."""
    approval = found.approval
    if approval.open_step >= 0:
        found.steps[approval.open_step].state = StepState.WAITING
    approval.state = state
    approval.open_step = -1
    approval.version += 1
    tx.emit(
        event,
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


def _with_deputies(tx: Transaction, approval: Approval, people: Sequence[str]) -> list[str]:
    """Return people and whoever decides in their place now, except the submitter."""
    everybody = dict.fromkeys([*people, *queries.deputies_of(tx, people)])
    return [person for person in everybody if person != approval.submitter_id]


def _facts(tx: Transaction, approval: Approval, step: Step) -> dict[str, object]:
    return {
        "approvalId": approval.id,
        "subjectType": approval.subject_type,
        "subjectId": approval.subject_id,
        "title": approval.title,
        "stepName": step.name,
        "approverIds": _with_deputies(tx, approval, step.approver_ids),
        "submitterId": approval.submitter_id,
    }


def _tell_changed(tx: Transaction, found: Whole) -> None:
    asked = [person for step in found.steps for person in (*step.approver_ids, *step.seat_ids)]
    concerned = {found.approval.submitter_id, *asked, *queries.deputies_of(tx, asked)}
    tx.emit(
        "approval_changed",
        found.approval.id,
        found.approval.version,
        {"approvalId": found.approval.id, "personIds": sorted(concerned)},
    )
