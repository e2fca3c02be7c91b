"""ApprovalsService: proto to use case and back."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from crm.approvals.v1 import approvals_pb2 as pb
from crm.approvals.v1 import approvals_pb2_grpc as pb_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import ServicerContext

from services.approvals.clients import Identity
from services.approvals.domain.flows import (
    DECIDE_RIGHT,
    DEFAULT_TIME_LIMIT,
    FIELDS,
    OWN_DEPARTMENT,
    FlowRules,
    FlowStep,
    Mode,
    Recall,
    Repeat,
    Subject,
    SubjectType,
    WhenEmpty,
    is_asked,
)
from services.approvals.domain.steps import UNDECIDED, ApprovalState, AutoReason, StepState, shown_changes
from services.approvals.store import queries
from services.approvals.store.queries import View, Whole
from services.approvals.store.tables import Deputy, Step
from services.approvals.usecases import approvals, deputies, requests
from services.approvals.usecases.approvals import stand_in_note
from services.approvals.usecases.approvers import StepToAsk, find_approvers
from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.service import Runtime
from services.chassis.timestamps import timestamp
from services.kernel.money import format_amount, parse_amount
from services.kernel.phones import texts_for
from services.kernel.texts import parse_text
from services.kernel.visibility import sees_every_number

Choice = TypeVar("Choice")

SUBJECT_TYPES = {
    SubjectType.REGISTRATION: pb.SUBJECT_TYPE_REGISTRATION,
    SubjectType.ORDER: pb.SUBJECT_TYPE_ORDER,
    SubjectType.CONTRACT: pb.SUBJECT_TYPE_CONTRACT,
    SubjectType.PAYMENT: pb.SUBJECT_TYPE_PAYMENT,
    SubjectType.EXPENSE: pb.SUBJECT_TYPE_EXPENSE,
    SubjectType.SUPPORT: pb.SUBJECT_TYPE_SUPPORT,
    SubjectType.FOLLOW_UP: pb.SUBJECT_TYPE_FOLLOW_UP,
    SubjectType.CUSTOMER: pb.SUBJECT_TYPE_CUSTOMER,
    SubjectType.LEAD: pb.SUBJECT_TYPE_LEAD,
    SubjectType.OPPORTUNITY: pb.SUBJECT_TYPE_OPPORTUNITY,
    SubjectType.QUOTE: pb.SUBJECT_TYPE_QUOTE,
    SubjectType.OTHER: pb.SUBJECT_TYPE_OTHER,
}
APPROVAL_STATES = {
    ApprovalState.PREPARING: pb.APPROVAL_STATE_PREPARING,
    ApprovalState.OPEN: pb.APPROVAL_STATE_OPEN,
    ApprovalState.PASSED: pb.APPROVAL_STATE_PASSED,
    ApprovalState.REJECTED: pb.APPROVAL_STATE_REJECTED,
    ApprovalState.WITHDRAWN: pb.APPROVAL_STATE_WITHDRAWN,
    ApprovalState.VOIDED: pb.APPROVAL_STATE_VOIDED,
}
STEP_STATES = {
    StepState.WAITING: pb.STEP_STATE_WAITING,
    StepState.OPEN: pb.STEP_STATE_OPEN,
    StepState.PASSED: pb.STEP_STATE_PASSED,
    StepState.REJECTED: pb.STEP_STATE_REJECTED,
    StepState.AUTO_APPROVED: pb.STEP_STATE_AUTO_APPROVED,
}
MODES = {
    Mode.ANY: pb.STEP_MODE_ANY,
    Mode.ALL: pb.STEP_MODE_ALL,
    Mode.IN_TURN: pb.STEP_MODE_IN_TURN,
}
WHEN_EMPTY = {
    WhenEmpty.ADMINISTRATORS: pb.WHEN_EMPTY_ADMINISTRATORS,
    WhenEmpty.NAMED: pb.WHEN_EMPTY_NAMED,
    WhenEmpty.APPROVE: pb.WHEN_EMPTY_PASS,
    WhenEmpty.REFUSE: pb.WHEN_EMPTY_REFUSE,
}
RECALLS = {
    Recall.UNDECIDED: pb.RECALL_UNDECIDED,
    Recall.UNTOUCHED: pb.RECALL_UNTOUCHED,
    Recall.NEVER: pb.RECALL_NEVER,
}
REPEATS = {Repeat.ASK: pb.REPEAT_ASK, Repeat.SKIP: pb.REPEAT_PASS}
AUTO_REASONS = {
    "": pb.AUTO_REASON_UNSPECIFIED,
    AutoReason.CONDITION: pb.AUTO_REASON_CONDITION,
    AutoReason.NOBODY: pb.AUTO_REASON_NOBODY,
    AutoReason.REPEATED: pb.AUTO_REASON_REPEATED,
}
VIEWS = {
    pb.APPROVAL_VIEW_UNSPECIFIED: View.INBOX,
    pb.APPROVAL_VIEW_INBOX: View.INBOX,
    pb.APPROVAL_VIEW_SUBMITTED: View.SUBMITTED,
    pb.APPROVAL_VIEW_DECIDED: View.DECIDED,
}
# Characters of a step's name and of a role's code.
LONGEST_NAME = 50
LONGEST_ROLE = 50
# Who has this right may look at every approval.
ADMINISTRATORS_RIGHT = "settings.manage"


class ApprovalsApi(pb_grpc.ApprovalsServiceServicer, Api):
    """The servicer."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.store)
        self._directory = Identity(runtime)

    def ListApprovals(
        self, request: pb.ListApprovalsRequest, context: ServicerContext
    ) -> pb.ListApprovalsResponse:
        """Return the caller's approvals of a view, newest first; raises InvalidInput VIEW_UNKNOWN."""
        size = page_size(request.page_size)
        before = decode_cursor(request.page_token)
        if request.view not in VIEWS:
            raise InvalidInput("view", "VIEW_UNKNOWN", "没有该视图", "There is no such view")

        def work(tx: Transaction) -> pb.ListApprovalsResponse:
            found = queries.listed(tx, VIEWS[request.view], current_caller().person_id, before, size + 1)
            page, more = cut_page(found, size)
            return pb.ListApprovalsResponse(
                approvals=_approvals(tx, page),
                next_page_token=encode_cursor(page[-1].approval.create_time, page[-1].approval.id)
                if more
                else "",
            )

        return self.read(work)

    def GetApproval(self, request: pb.GetApprovalRequest, context: ServicerContext) -> pb.GetApprovalResponse:
        """Return an approval to whom it concerns; raises NotFound for everybody else."""
        approval_id = parse_id(request.approval_id, "approval_id")

        def work(tx: Transaction) -> pb.GetApprovalResponse:
            found = queries.whole(tx, approval_id)
            if not _concerns_caller(tx, found):
                raise not_found("approval", "审批", approval_id)
            return pb.GetApprovalResponse(approval=_approval(tx, found))

        return self.read(work)

    def DecideApproval(
        self, request: pb.DecideApprovalRequest, context: ServicerContext
    ) -> pb.DecideApprovalResponse:
        """Pass or reject; see `decide` for what is refused, and DECISION_MISSING."""
        approval_id = parse_id(request.approval_id, "approval_id")
        if request.decision not in (pb.DECISION_PASS, pb.DECISION_REJECT):
            raise InvalidInput("decision", "DECISION_MISSING", "请选择通过或驳回", "Pass or reject")
        return self.write(
            request,
            pb.DecideApprovalResponse,
            lambda tx: pb.DecideApprovalResponse(
                approval=_approval(
                    tx,
                    approvals.decide(
                        tx,
                        approval_id,
                        step_index=request.step_index,
                        decider_id=current_caller().person_id,
                        quoted_hash=request.shown_hash,
                        comment=request.comment,
                        passed=request.decision == pb.DECISION_PASS,
                    ),
                )
            ),
        )

    def DelegateApproval(
        self, request: pb.DelegateApprovalRequest, context: ServicerContext
    ) -> pb.DelegateApprovalResponse:
        """Hand the open step on; see `delegate` for what is refused."""
        caller = current_caller()
        approval_id = parse_id(request.approval_id, "approval_id")
        to_id = parse_id(request.to_person_id, "to_person_id")
        may = self._directory.may(current_tenant(), caller.person_id, to_id, DECIDE_RIGHT)
        return self.write(
            request,
            pb.DelegateApprovalResponse,
            lambda tx: pb.DelegateApprovalResponse(
                approval=_approval(
                    tx,
                    approvals.delegate(
                        tx,
                        approval_id,
                        step_index=request.step_index,
                        from_id=caller.person_id,
                        to_id=to_id,
                        may=may,
                        comment=request.comment,
                    ),
                )
            ),
        )

    def WithdrawApproval(
        self, request: pb.WithdrawApprovalRequest, context: ServicerContext
    ) -> pb.WithdrawApprovalResponse:
        """Take an own submission back; see `withdraw` for what is refused."""
        approval_id = parse_id(request.approval_id, "approval_id")
        return self.write(
            request,
            pb.WithdrawApprovalResponse,
            lambda tx: pb.WithdrawApprovalResponse(
                approval=_approval(tx, approvals.withdraw(tx, approval_id, current_caller().person_id))
            ),
        )

    def PreviewApproval(
        self, request: pb.PreviewApprovalRequest, context: ServicerContext
    ) -> pb.PreviewApprovalResponse:
        """Return what would become of each step now; a step of whom the submitter chooses names nobody yet.

        Raises InvalidInput FACTS_INVALID for what is no JSON object of texts.
        """
        caller, tenant = current_caller(), current_tenant()
        subject_type = _subject_type(request.subject_type)
        amount = parse_amount(request.amount, "amount") if request.amount else None
        subject = Subject(subject_type, caller.person_id, amount, _parse_facts(request.facts))
        with self.store.transaction(tenant) as tx:
            flow, now = queries.flow(tx, subject_type), tx.now
        found = {
            index: find_approvers(self._directory, tenant, caller.person_id, StepToAsk(index, step))
            for index, step in enumerate(flow.steps)
            if is_asked(step, subject, now) and not _is_chosen(step)
        }
        answer = pb.PreviewApprovalResponse()
        for index, step in enumerate(flow.steps):
            shown = answer.steps.add(
                index=index, name=step.name, state=pb.STEP_STATE_WAITING, mode=MODES[step.mode]
            )
            if index in found:
                shown.approver_ids.extend(found[index].person_ids)
                shown.name += stand_in_note(found[index])
                if found[index].empty:
                    shown.auto_reason = pb.AUTO_REASON_NOBODY
                    refused = found[index].empty is WhenEmpty.REFUSE
                    shown.state = pb.STEP_STATE_REJECTED if refused else pb.STEP_STATE_AUTO_APPROVED
            elif not _is_chosen(step) or not is_asked(step, subject, now):
                shown.auto_reason = pb.AUTO_REASON_CONDITION
                shown.state = pb.STEP_STATE_AUTO_APPROVED
        return answer

    def SubmitRequest(
        self, request: pb.SubmitRequestRequest, context: ServicerContext
    ) -> pb.SubmitRequestResponse:
        """Submit a request of the caller's own; see `submit_request` for what is refused."""
        subject_type = _subject_type(request.subject_type)
        subject_id = parse_id(request.subject_id, "subject_id") if request.subject_id else ""
        return self.write(
            request,
            pb.SubmitRequestResponse,
            lambda tx: pb.SubmitRequestResponse(
                approval=_approval(
                    tx,
                    requests.submit_request(
                        tx,
                        current_caller().person_id,
                        subject_type,
                        title=request.title,
                        amount=request.amount,
                        details=request.details,
                        about=request.about,
                        subject_id=subject_id,
                    ),
                )
            ),
        )

    def CreateDeputy(
        self, request: pb.CreateDeputyRequest, context: ServicerContext
    ) -> pb.CreateDeputyResponse:
        """Let somebody decide in a person's place; see `create_deputy` for what is refused."""
        caller = current_caller()
        to_id = parse_id(request.to_person_id, "to_person_id")
        person_id = parse_id(request.person_id, "person_id") if request.person_id else caller.person_id
        may = self._directory.may(current_tenant(), caller.person_id, to_id, DECIDE_RIGHT)
        begin = _time(request.begin_time, "begin_time") if request.HasField("begin_time") else None
        end = _time(request.end_time, "end_time")
        return self.write(
            request,
            pb.CreateDeputyResponse,
            lambda tx: pb.CreateDeputyResponse(
                deputy=_deputy(
                    deputies.create_deputy(
                        tx,
                        caller.person_id,
                        person_id=person_id,
                        to_id=to_id,
                        begin_time=begin,
                        end_time=end,
                        comment=request.comment,
                        administrates=ADMINISTRATORS_RIGHT in caller.rights,
                        may=may,
                    )
                )
            ),
        )

    def ListDeputies(
        self, request: pb.ListDeputiesRequest, context: ServicerContext
    ) -> pb.ListDeputiesResponse:
        """Return the deputies that are not over."""
        caller = current_caller()
        whose = "" if ADMINISTRATORS_RIGHT in caller.rights else caller.person_id
        return self.read(
            lambda tx: pb.ListDeputiesResponse(deputies=map(_deputy, queries.deputies(tx, whose)))
        )

    def EndDeputy(self, request: pb.EndDeputyRequest, context: ServicerContext) -> pb.EndDeputyResponse:
        """End a deputy's time; see `end_deputy` for what is refused."""
        caller = current_caller()
        deputy_id = parse_id(request.deputy_id, "deputy_id")
        return self.write(
            request,
            pb.EndDeputyResponse,
            lambda tx: pb.EndDeputyResponse(
                deputy=_deputy(
                    deputies.end_deputy(
                        tx,
                        caller.person_id,
                        deputy_id,
                        administrates=ADMINISTRATORS_RIGHT in caller.rights,
                    )
                )
            ),
        )

    def UpdateFlow(self, request: pb.UpdateFlowRequest, context: ServicerContext) -> pb.UpdateFlowResponse:
        """Set a flow; see `update_flow` for what is refused."""
        subject_type = _subject_type(request.subject_type)
        steps = [_parse_step(step, f"steps[{index}]") for index, step in enumerate(request.steps)]
        rules = FlowRules(
            _chosen(RECALLS, request.recall, "recall"), _chosen(REPEATS, request.repeat, "repeat")
        )

        def work(tx: Transaction) -> pb.UpdateFlowResponse:
            actor_id = current_caller().person_id
            version = approvals.update_flow(tx, subject_type, steps, rules, request.version, actor_id)
            return pb.UpdateFlowResponse(flow=_flow(subject_type, steps, rules, version))

        return self.write(request, pb.UpdateFlowResponse, work)

    def ListFlowVersions(
        self, request: pb.ListFlowVersionsRequest, context: ServicerContext
    ) -> pb.ListFlowVersionsResponse:
        """Return a flow's versions, newest first; its first use makes the first."""
        subject_type = _subject_type(request.subject_type)

        def work(tx: Transaction) -> pb.ListFlowVersionsResponse:
            queries.flow(tx, subject_type)
            return pb.ListFlowVersionsResponse(
                versions=[
                    pb.FlowVersion(
                        flow=_flow(
                            subject_type,
                            map(queries.unpack_step, row.steps),
                            queries.unpack_rules(row.rules),
                            row.version,
                        ),
                        actor_id=row.actor_id or "",
                        create_time=timestamp(row.create_time),
                    )
                    for row in queries.flow_versions(tx, subject_type)
                ]
            )

        return self.read(work)

    def ListFlows(self, request: pb.ListFlowsRequest, context: ServicerContext) -> pb.ListFlowsResponse:
        """Return the tenant's flows, by type."""

        def flow(tx: Transaction, subject_type: SubjectType) -> pb.Flow:
            found = queries.flow(tx, subject_type)
            return _flow(subject_type, found.steps, found.rules, found.version)

        return self.read(lambda tx: pb.ListFlowsResponse(flows=[flow(tx, each) for each in SUBJECT_TYPES]))


def _concerns_caller(tx: Transaction, found: Whole) -> bool:
    caller = current_caller()
    if caller.person_id == found.approval.submitter_id or ADMINISTRATORS_RIGHT in caller.rights:
        return True
    people = {caller.person_id, *approvals.principals(tx, found, caller.person_id)}
    return (
        any(people.intersection((*step.approver_ids, *step.seat_ids)) for step in found.steps)
        or any(row.decider_id == caller.person_id for rows in found.decisions.values() for row in rows)
        or any(row.from_person_id == caller.person_id for rows in found.delegations.values() for row in rows)
    )


def _approval(tx: Transaction, found: Whole) -> pb.Approval:
    return _approvals(tx, [found])[0]


def _approvals(tx: Transaction, wholes: Sequence[Whole]) -> list[pb.Approval]:
    """Return approvals as the caller sees them, with what changed since the caller was shown them last."""
    earlier = queries.earlier_rounds(tx, [found.approval for found in wholes])
    for_ids = queries.principals(tx, current_caller().person_id)
    return [_shown_to_caller(found, earlier[found.approval.id], for_ids) for found in wholes]


def _shown_to_caller(found: Whole, earlier: Sequence[Whole], for_ids: Sequence[str]) -> pb.Approval:
    """Return an approval as the caller sees it.

    earlier: the rounds of its subject before it, newest first. for_ids: in whose place the caller may decide.
    """
    approval = found.approval
    caller = current_caller()
    preparing = approval.state == ApprovalState.PREPARING
    place = ""
    own = caller.person_id == approval.submitter_id
    if DECIDE_RIGHT in caller.rights:
        place = approvals.place_in(found, caller.person_id, () if own else for_ids)
    result = pb.Approval(
        approval_id=approval.id,
        subject_type=SUBJECT_TYPES[SubjectType(approval.subject_type)],
        subject_id=approval.subject_id,
        title=approval.title,
        submitter_id=approval.submitter_id,
        shown=[pb.ShownField(name=name, value=value) for name, value in approval.shown],
        shown_hash=approval.shown_hash,
        state=APPROVAL_STATES[ApprovalState(approval.state)],
        open_step=approval.open_step,
        steps=[] if preparing else [_step(found, step) for step in found.steps],
        create_time=timestamp(approval.create_time),
        version=approval.version,
        flow_version=approval.flow_version,
        decidable=bool(place),
        acting_for_id="" if place == caller.person_id else place,
        withdrawable=approval.state in UNDECIDED
        and caller.person_id == approval.submitter_id
        and approvals.may_recall(found),
        round=len(earlier) + 1,
    )
    seen = next((each for each in earlier if approvals.was_shown(each, caller.person_id)), None)
    if seen:
        result.last_shown_time.CopyFrom(timestamp(seen.approval.create_time))
        result.changes.extend(
            pb.ShownChange(name=name, before=before, after=after)
            for name, before, after in shown_changes(seen.approval.shown, approval.shown)
        )
    # Whoever asks for something knows what about.
    return texts_for(result, may_see=own or sees_every_number(caller))


def _chosen(known: Mapping[Choice, int], number: int, field: str) -> Choice:
    """Return what a number of an enum stands for, the first for 0; raises InvalidInput CHOICE_UNKNOWN."""
    if not number:
        return next(iter(known))
    for choice, value in known.items():
        if value == number:
            return choice
    raise InvalidInput(field, "CHOICE_UNKNOWN", "没有该选项", "There is no such choice")


def _is_chosen(step: FlowStep) -> bool:
    """Return whether the submitter chooses who decides a step."""
    return not (step.roles or step.person_ids or step.superior_level or step.head_of)


def _parse_facts(text: str) -> list[tuple[str, str]]:
    try:
        facts = json.loads(text or "{}")
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise InvalidInput(
            "facts", "FACTS_INVALID", "应为文本值的 JSON 对象", "Expected a JSON object of texts"
        )
    return list(facts.items())


def _time(given: Timestamp, field: str) -> datetime:
    """Return a time; raises InvalidInput TIME_INVALID."""
    try:
        return given.ToDatetime(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(field, "TIME_INVALID", "时间无效", "That is no time") from None


def _deputy(row: Deputy) -> pb.Deputy:
    message = pb.Deputy(
        deputy_id=row.id,
        person_id=row.person_id,
        to_person_id=row.deputy_id,
        begin_time=timestamp(row.begin_time),
        end_time=timestamp(row.end_time),
        comment=row.comment,
    )
    return texts_for(message, may_see=row.person_id == current_caller().person_id)


def _subject_type(number: pb.SubjectType.ValueType) -> SubjectType:
    for subject_type, known in SUBJECT_TYPES.items():
        if known == number:
            return subject_type
    raise InvalidInput("subject_type", "SUBJECT_TYPE_UNKNOWN", "没有该审批类型", "There is no such type")


def _flow(subject_type: SubjectType, steps: Iterable[FlowStep], rules: FlowRules, version: int) -> pb.Flow:
    return pb.Flow(
        subject_type=SUBJECT_TYPES[subject_type],
        version=version,
        recall=RECALLS[rules.recall],
        repeat=REPEATS[rules.repeat],
        fields=[pb.FlowField(name=name, kind=kind) for name, kind in FIELDS[subject_type].items()],
        steps=[
            pb.FlowStep(
                name=step.name,
                role=step.roles[0] if step.roles else "",
                roles=step.roles,
                person_ids=step.person_ids,
                amount_from=format_amount(step.amount_from) if step.amount_from is not None else "",
                amount_below=format_amount(step.amount_below) if step.amount_below is not None else "",
                time_limit=Duration(seconds=int(step.time_limit.total_seconds())),
                escalate_role=step.escalate_role,
                mode=MODES[step.mode],
                superior_level=step.superior_level,
                head_of=step.head_of,
                when_empty=WHEN_EMPTY[step.when_empty],
                stand_in_ids=step.stand_in_ids,
                condition=step.condition,
            )
            for step in steps
        ],
    )


def _parse_step(step: pb.FlowStep, field: str) -> FlowStep:
    roles = list(step.roles) or ([step.role] if step.role else [])
    return FlowStep(
        name=parse_text(step.name, f"{field}.name", LONGEST_NAME),
        roles=tuple(parse_text(role, f"{field}.roles", LONGEST_ROLE) for role in dict.fromkeys(roles)),
        person_ids=tuple(
            parse_id(person, f"{field}.person_ids") for person in dict.fromkeys(step.person_ids)
        ),
        amount_from=parse_amount(step.amount_from, f"{field}.amount_from") if step.amount_from else None,
        amount_below=parse_amount(step.amount_below, f"{field}.amount_below") if step.amount_below else None,
        # Whole seconds; what is out of range is refused with the flow's other rules.
        time_limit=timedelta(seconds=max(min(step.time_limit.seconds, 10**9), 0))
        if step.HasField("time_limit")
        else DEFAULT_TIME_LIMIT,
        escalate_role=parse_text(step.escalate_role, f"{field}.escalate_role", LONGEST_ROLE, required=False),
        mode=_chosen(MODES, step.mode, f"{field}.mode"),
        superior_level=step.superior_level,
        head_of=parse_id(step.head_of, f"{field}.head_of")
        if step.head_of not in ("", OWN_DEPARTMENT)
        else step.head_of,
        when_empty=_chosen(WHEN_EMPTY, step.when_empty, f"{field}.when_empty"),
        stand_in_ids=tuple(
            parse_id(person, f"{field}.stand_in_ids") for person in dict.fromkeys(step.stand_in_ids)
        ),
        condition=step.condition.strip(),
    )


def _step(found: Whole, step: Step) -> pb.Step:
    decisions = found.decisions.get(step.step_index, ())
    last = decisions[-1] if decisions else None
    return pb.Step(
        index=step.step_index,
        name=step.name,
        approver_ids=step.approver_ids,
        state=STEP_STATES[StepState(step.state)],
        decider_id=last.decider_id if last else "",
        comment=last.comment if last else "",
        decide_time=timestamp(step.decide_time) if step.decide_time else None,
        escalated=step.escalated,
        mode=MODES[queries.flow_step(step).mode],
        seat_ids=step.seat_ids,
        auto_reason=AUTO_REASONS[step.auto_reason],
        decisions=[
            pb.StepDecision(
                decider_id=row.decider_id,
                for_person_id=row.for_person_id or "",
                passed=row.passed,
                comment=row.comment,
                create_time=timestamp(row.create_time),
                shown_hash=row.shown_hash,
            )
            for row in decisions
        ],
        delegations=[
            pb.Delegation(
                from_person_id=row.from_person_id,
                to_person_id=row.to_person_id,
                comment=row.comment,
                create_time=timestamp(row.create_time),
            )
            for row in found.delegations.get(step.step_index, ())
        ],
    )
