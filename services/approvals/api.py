"""ApprovalsService: proto to use case and back."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from crm.approvals.v1 import approvals_pb2 as pb
from crm.approvals.v1 import approvals_pb2_grpc as pb_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import ServicerContext

from services.approvals.clients import Identity
from services.approvals.domain.flows import DECIDE_RIGHT, DEFAULT_TIME_LIMIT, FlowStep, SubjectType
from services.approvals.domain.steps import UNDECIDED, ApprovalState, StepState, is_asked
from services.approvals.store import queries
from services.approvals.store.queries import View, Whole
from services.approvals.store.tables import Decision, Delegation, Step
from services.approvals.usecases import approvals
from services.approvals.usecases.approvals import STAND_IN_NOTE
from services.approvals.usecases.approvers import StepToAsk, find_approvers
from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.service import Runtime
from services.kernel.money import format_amount, parse_amount
from services.kernel.texts import parse_text

SUBJECT_TYPES = {
    SubjectType.REGISTRATION: pb.SUBJECT_TYPE_REGISTRATION,
    SubjectType.ORDER: pb.SUBJECT_TYPE_ORDER,
    SubjectType.CONTRACT: pb.SUBJECT_TYPE_CONTRACT,
    SubjectType.PAYMENT: pb.SUBJECT_TYPE_PAYMENT,
}
APPROVAL_STATES = {
    ApprovalState.PREPARING: pb.APPROVAL_STATE_PREPARING,
    ApprovalState.OPEN: pb.APPROVAL_STATE_OPEN,
    ApprovalState.PASSED: pb.APPROVAL_STATE_PASSED,
    ApprovalState.REJECTED: pb.APPROVAL_STATE_REJECTED,
    ApprovalState.WITHDRAWN: pb.APPROVAL_STATE_WITHDRAWN,
}
STEP_STATES = {
    StepState.WAITING: pb.STEP_STATE_WAITING,
    StepState.OPEN: pb.STEP_STATE_OPEN,
    StepState.PASSED: pb.STEP_STATE_PASSED,
    StepState.REJECTED: pb.STEP_STATE_REJECTED,
    StepState.AUTO_APPROVED: pb.STEP_STATE_AUTO_APPROVED,
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
                approvals=[_approval(item) for item in page],
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
            if not _concerns_caller(found):
                raise not_found("approval", "审批", approval_id)
            return pb.GetApprovalResponse(approval=_approval(found))

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
                    approvals.decide(
                        tx,
                        approval_id,
                        step_index=request.step_index,
                        decider_id=current_caller().person_id,
                        quoted_hash=request.shown_hash,
                        comment=request.comment,
                        passed=request.decision == pb.DECISION_PASS,
                    )
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
                    approvals.delegate(
                        tx,
                        approval_id,
                        step_index=request.step_index,
                        from_id=caller.person_id,
                        to_id=to_id,
                        may=may,
                        comment=request.comment,
                    )
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
                approval=_approval(approvals.withdraw(tx, approval_id, current_caller().person_id))
            ),
        )

    def PreviewApproval(
        self, request: pb.PreviewApprovalRequest, context: ServicerContext
    ) -> pb.PreviewApprovalResponse:
        """Return who would decide each step now; a step of whom the submitter chooses names nobody yet."""
        caller, tenant = current_caller(), current_tenant()
        subject_type = _subject_type(request.subject_type)
        amount = parse_amount(request.amount, "amount") if request.amount else None
        with self.store.transaction(tenant) as tx:
            flow, _ = queries.flow(tx, subject_type)
        answer = pb.PreviewApprovalResponse()
        for index, step in enumerate(flow):
            shown = answer.steps.add(index=index, name=step.name, state=pb.STEP_STATE_WAITING)
            if not is_asked(step.amount_from, step.amount_below, amount):
                shown.state = pb.STEP_STATE_AUTO_APPROVED
            elif step.roles or step.person_ids:
                asked = StepToAsk(index, step.roles, "", step.person_ids)
                found = find_approvers(self._directory, tenant, caller.person_id, asked)
                shown.approver_ids.extend(found.person_ids)
                shown.name += STAND_IN_NOTE if found.standing_in else ""
        return answer

    def UpdateFlow(self, request: pb.UpdateFlowRequest, context: ServicerContext) -> pb.UpdateFlowResponse:
        """Set a flow; see `update_flow` for what is refused."""
        subject_type = _subject_type(request.subject_type)
        steps = [_parse_step(step, f"steps[{index}]") for index, step in enumerate(request.steps)]

        def work(tx: Transaction) -> pb.UpdateFlowResponse:
            actor_id = current_caller().person_id
            version = approvals.update_flow(tx, subject_type, steps, request.version, actor_id)
            return pb.UpdateFlowResponse(flow=_flow(subject_type, steps, version))

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
                        flow=_flow(subject_type, map(queries.unpack_step, row.steps), row.version),
                        actor_id=row.actor_id or "",
                        create_time=_timestamp(row.create_time),
                    )
                    for row in queries.flow_versions(tx, subject_type)
                ]
            )

        return self.read(work)

    def ListFlows(self, request: pb.ListFlowsRequest, context: ServicerContext) -> pb.ListFlowsResponse:
        """Return the tenant's flows, by type."""

        def work(tx: Transaction) -> pb.ListFlowsResponse:
            return pb.ListFlowsResponse(
                flows=[_flow(subject_type, *queries.flow(tx, subject_type)) for subject_type in SUBJECT_TYPES]
            )

        return self.read(work)


def _concerns_caller(found: Whole) -> bool:
    caller = current_caller()
    return (
        caller.person_id == found.approval.submitter_id
        or ADMINISTRATORS_RIGHT in caller.rights
        or any(caller.person_id in step.approver_ids for step in found.steps)
        or any(caller.person_id == decision.decider_id for decision in found.decisions.values())
    )


def _approval(found: Whole) -> pb.Approval:
    approval = found.approval
    caller = current_caller()
    preparing = approval.state == ApprovalState.PREPARING
    return pb.Approval(
        approval_id=approval.id,
        subject_type=SUBJECT_TYPES[SubjectType(approval.subject_type)],
        subject_id=approval.subject_id,
        title=approval.title,
        submitter_id=approval.submitter_id,
        shown=[pb.ShownField(name=name, value=value) for name, value in approval.shown],
        shown_hash=approval.shown_hash,
        state=APPROVAL_STATES[ApprovalState(approval.state)],
        open_step=approval.open_step,
        steps=[]
        if preparing
        else [
            _step(step, found.decisions.get(step.step_index), found.delegations.get(step.step_index, ()))
            for step in found.steps
        ],
        create_time=_timestamp(approval.create_time),
        version=approval.version,
        flow_version=approval.flow_version,
        decidable=approval.open_step >= 0
        and DECIDE_RIGHT in caller.rights
        and caller.person_id in found.steps[approval.open_step].approver_ids,
        withdrawable=approval.state in UNDECIDED and caller.person_id == approval.submitter_id,
    )


def _subject_type(number: pb.SubjectType.ValueType) -> SubjectType:
    for subject_type, known in SUBJECT_TYPES.items():
        if known == number:
            return subject_type
    raise InvalidInput("subject_type", "SUBJECT_TYPE_UNKNOWN", "没有该审批类型", "There is no such type")


def _flow(subject_type: SubjectType, steps: Iterable[FlowStep], version: int) -> pb.Flow:
    return pb.Flow(
        subject_type=SUBJECT_TYPES[subject_type],
        version=version,
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
    )


def _step(step: Step, decision: Decision | None, delegations: Sequence[Delegation]) -> pb.Step:
    return pb.Step(
        index=step.step_index,
        name=step.name,
        approver_ids=step.approver_ids,
        state=STEP_STATES[StepState(step.state)],
        decider_id=decision.decider_id if decision else "",
        comment=decision.comment if decision else "",
        decide_time=_timestamp(step.decide_time) if step.decide_time else None,
        escalated=step.escalated,
        delegations=[
            pb.Delegation(
                from_person_id=row.from_person_id,
                to_person_id=row.to_person_id,
                comment=row.comment,
                create_time=_timestamp(row.create_time),
            )
            for row in delegations
        ],
    )


def _timestamp(time: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time)
    return result
