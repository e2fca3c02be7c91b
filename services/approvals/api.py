"""ApprovalsService: proto to use case and back."""

from datetime import datetime

from crm.approvals.v1 import approvals_pb2 as pb
from crm.approvals.v1 import approvals_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import ServicerContext

from services.approvals.domain.flows import DECIDE_RIGHT, SubjectType
from services.approvals.domain.steps import ApprovalState, StepState
from services.approvals.store import queries
from services.approvals.store.queries import View, Whole
from services.approvals.store.tables import Decision, Step
from services.approvals.usecases import approvals
from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.kernel.money import format_amount

SUBJECT_TYPES = {
    SubjectType.REGISTRATION: pb.SUBJECT_TYPE_REGISTRATION,
    SubjectType.ORDER: pb.SUBJECT_TYPE_ORDER,
}
APPROVAL_STATES = {
    ApprovalState.PREPARING: pb.APPROVAL_STATE_PREPARING,
    ApprovalState.OPEN: pb.APPROVAL_STATE_OPEN,
    ApprovalState.PASSED: pb.APPROVAL_STATE_PASSED,
    ApprovalState.REJECTED: pb.APPROVAL_STATE_REJECTED,
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
# Who has this right may look at every approval.
ADMINISTRATORS_RIGHT = "settings.manage"


class ApprovalsApi(pb_grpc.ApprovalsServiceServicer, Api):
    """The servicer."""

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

    def ListFlows(self, request: pb.ListFlowsRequest, context: ServicerContext) -> pb.ListFlowsResponse:
        """Return the tenant's flows, by type."""

        def work(tx: Transaction) -> pb.ListFlowsResponse:
            answer = pb.ListFlowsResponse()
            for subject_type, number in SUBJECT_TYPES.items():
                steps, version = queries.flow(tx, subject_type)
                flow = answer.flows.add(subject_type=number, version=version)
                for step in steps:
                    amount_from = format_amount(step.amount_from) if step.amount_from is not None else ""
                    flow.steps.add(name=step.name, role=step.role, amount_from=amount_from)
            return answer

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
        else [_step(step, found.decisions.get(step.step_index)) for step in found.steps],
        create_time=_timestamp(approval.create_time),
        version=approval.version,
        flow_version=approval.flow_version,
        decidable=approval.open_step >= 0
        and DECIDE_RIGHT in caller.rights
        and caller.person_id in found.steps[approval.open_step].approver_ids,
    )


def _step(step: Step, decision: Decision | None) -> pb.Step:
    return pb.Step(
        index=step.step_index,
        name=step.name,
        approver_ids=step.approver_ids,
        state=STEP_STATES[StepState(step.state)],
        decider_id=decision.decider_id if decision else "",
        comment=decision.comment if decision else "",
        decide_time=_timestamp(step.decide_time) if step.decide_time else None,
    )


def _timestamp(time: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time)
    return result
