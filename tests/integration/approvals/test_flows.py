"""Flows as data: set by administrators, followed by what begins afterwards; delegates, withdrawal, escalation."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from crm.approvals.v1 import approvals_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import update

from services.approvals.metrics import OVERDUE, OVERDUE_AGE
from services.approvals.store.measures import MEASURES
from services.approvals.store.queries import whole
from services.approvals.store.tables import Approval
from services.approvals.usecases.approvals import remind, step_to_remind
from services.approvals.usecases.approvers import Approvers
from services.chassis.errors import AppError, Conflict, InvalidInput
from services.chassis.ids import new_id
from services.chassis.measures import Measurer
from tests.integration.approvals.conftest import Desk
from tests.support.callers import Caller
from tests.support.measured import measured
from tests.support.running import emitted, event_of

pytestmark = pytest.mark.usefixtures("running")


def flow_of(desk: Desk, caller: Caller, subject_type: pb.SubjectType.ValueType) -> pb.Flow:
    """Return a flow as it is now."""
    answer: pb.ListFlowsResponse = caller(desk.stub.ListFlows, pb.ListFlowsRequest())
    return next(flow for flow in answer.flows if flow.subject_type == subject_type)


def set_flow(desk: Desk, *steps: pb.FlowStep) -> pb.UpdateFlowRequest:
    """Set the flow of orders, and return the request."""
    admin = desk.company.admin
    current = flow_of(desk, admin, pb.SUBJECT_TYPE_ORDER)
    request = pb.UpdateFlowRequest(
        request_id=new_id(), subject_type=pb.SUBJECT_TYPE_ORDER, steps=steps, version=current.version
    )
    admin(desk.stub.UpdateFlow, request)
    return request


def test_an_administrator_sets_a_flow_and_what_runs_keeps_its_version(desk: Desk) -> None:
    """F177, F179: one of two roles is enough; an approval follows the flow it began with."""
    wang, zhou = desk.company.add("wang", "sales_manager"), desk.company.add("zhou", "director")
    li = desk.company.add("li", "sales_rep")
    manager, director = desk.company.caller("wang"), desk.company.caller("zhou")
    admin = desk.company.admin
    before = desk.order(li, "20000")
    first = desk.waiting(manager, before)
    request = set_flow(
        desk,
        pb.FlowStep(
            name="运营或财务", roles=["sales_manager", "director"], time_limit=Duration(seconds=3600)
        ),
    )
    again = pb.UpdateFlowRequest()
    again.CopyFrom(request)
    again.request_id = new_id()
    refused = admin.refused(desk.stub.UpdateFlow, again)
    assert isinstance(refused, Conflict)
    assert refused.reason == "FLOW_CHANGED"
    assert manager.refused(desk.stub.UpdateFlow, again).reason == "RIGHT_MISSING"

    after = desk.waiting(director, desk.order(li, "20000"))
    assert (after.flow_version, [step.name for step in after.steps]) == (2, ["运营或财务"])
    assert set(after.steps[0].approver_ids) == {wang, zhou}
    assert director(desk.stub.DecideApproval, desk.decision(after)).approval.state == pb.APPROVAL_STATE_PASSED
    # The other one comes too late.
    late = manager.refused(desk.stub.DecideApproval, desk.decision(after, step=0))
    assert late.reason == "ALREADY_DECIDED"
    going = manager(desk.stub.DecideApproval, desk.decision(first)).approval
    assert (going.flow_version, going.state, going.open_step) == (1, pb.APPROVAL_STATE_OPEN, 1)

    listed = pb.ListFlowVersionsRequest(subject_type=pb.SUBJECT_TYPE_ORDER)
    versions = admin(desk.stub.ListFlowVersions, listed).versions
    assert [(v.flow.version, len(v.flow.steps), bool(v.actor_id)) for v in versions] == [
        (2, 1, True),
        (1, 2, False),
    ]


def test_a_flow_that_cannot_work_is_refused_with_its_field(desk: Desk) -> None:
    request = pb.UpdateFlowRequest(
        request_id=new_id(),
        subject_type=pb.SUBJECT_TYPE_ORDER,
        version=1,
        steps=[pb.FlowStep(name="一", role="director"), pb.FlowStep(name=" ", role="director")],
    )
    admin = desk.company.admin
    refused = admin.refused(desk.stub.UpdateFlow, request)
    assert isinstance(refused, InvalidInput)
    assert (refused.field, refused.reason) == ("steps[1].name", "TEXT_EMPTY")
    request.steps[1].name, request.steps[1].role = "二", ""
    assert admin.refused(desk.stub.UpdateFlow, request).metadata["field"] == "steps[1].roles"


def test_who_would_approve_is_told_before(desk: Desk) -> None:
    """F178: below the limit the second step would be passed by the system."""
    wang, zhou = desk.company.add("wang", "sales_manager"), desk.company.add("zhou", "director")
    desk.company.add("li", "sales_rep")
    rep = desk.company.caller("li")

    def preview(amount: str) -> list[tuple[list[str], int]]:
        request = pb.PreviewApprovalRequest(subject_type=pb.SUBJECT_TYPE_ORDER, amount=amount)
        steps = rep(desk.stub.PreviewApproval, request).steps
        return [(list(step.approver_ids), step.state) for step in steps]

    waiting, auto = pb.STEP_STATE_WAITING, pb.STEP_STATE_AUTO_APPROVED
    assert preview("9999.99") == [([wang], waiting), ([], auto)]
    assert preview("10000") == [([wang], waiting), ([zhou], waiting)]


def test_an_approver_hands_the_step_to_somebody_else(desk: Desk) -> None:
    wang, wu = desk.company.add("wang", "sales_manager"), desk.company.add("wu", "sales_manager")
    li, zhao = desk.company.add("li", "sales_rep"), desk.company.add("zhao", "sales_rep")
    manager, deputy = desk.company.caller("wang"), desk.company.caller("wu")
    approval = desk.waiting(manager, desk.register(li, wang))

    def handed(to: str) -> pb.DelegateApprovalRequest:
        return pb.DelegateApprovalRequest(
            request_id=new_id(),
            approval_id=approval.approval_id,
            step_index=0,
            to_person_id=to,
            comment="出差",
        )

    assert manager.refused(desk.stub.DelegateApproval, handed(zhao)).reason == "DELEGATE_CANNOT_DECIDE"
    assert manager.refused(desk.stub.DelegateApproval, handed(li)).reason == "DELEGATE_INVALID"
    assert deputy.refused(desk.stub.DelegateApproval, handed(wu)).reason == "NOT_APPROVER"
    step = manager(desk.stub.DelegateApproval, handed(wu)).approval.steps[0]
    assert list(step.approver_ids) == [wu]
    assert [(row.from_person_id, row.to_person_id, row.comment) for row in step.delegations] == [
        (wang, wu, "出差")
    ]
    assert manager.refused(desk.stub.DecideApproval, desk.decision(approval)).reason == "NOT_APPROVER"
    # A reminder finds the approvers anew, and the hand-over holds.
    with desk.runtime.store.transaction(desk.company.tenant) as tx:
        remind(tx, approval.approval_id, 1, 0, Approvers((wang,)))
    waiting = desk.waiting(deputy, approval.subject_id)
    passed = deputy(desk.stub.DecideApproval, desk.decision(waiting)).approval
    assert passed.steps[0].decider_id == wu


def test_a_submission_is_taken_back_by_its_submitter_alone_and_once(desk: Desk) -> None:
    wang = desk.company.add("wang", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    manager, rep = desk.company.caller("wang"), desk.company.caller("li")
    order_id = desk.order(li, "20000")
    approval = desk.waiting(manager, order_id)

    def request() -> pb.WithdrawApprovalRequest:
        return pb.WithdrawApprovalRequest(request_id=new_id(), approval_id=approval.approval_id)

    assert manager.refused(desk.stub.WithdrawApproval, request()).reason == "APPROVAL_NOT_FOUND"
    assert not approval.withdrawable
    taken = rep(desk.stub.WithdrawApproval, request()).approval
    assert (taken.state, taken.open_step, taken.withdrawable) == (pb.APPROVAL_STATE_WITHDRAWN, -1, False)
    assert rep.refused(desk.stub.WithdrawApproval, request()).reason == "ALREADY_DECIDED"
    assert manager.refused(desk.stub.DecideApproval, desk.decision(approval)).reason == "STEP_NOT_OPEN"
    assert desk.listed(manager) == []
    # Submitted anew, it is another round.
    assert desk.waiting(manager, desk.order(li, "30000", order_id)).approval_id != approval.approval_id
    assert wang


def test_of_withdrawal_and_decision_at_once_one_holds(desk: Desk) -> None:
    desk.company.add("wang", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    manager, rep = desk.company.caller("wang"), desk.company.caller("li")
    approval = desk.waiting(manager, desk.order(li, "1"))

    def act(decides: bool) -> str:
        try:
            if decides:
                return str(manager(desk.stub.DecideApproval, desk.decision(approval)).approval.state)
            request = pb.WithdrawApprovalRequest(request_id=new_id(), approval_id=approval.approval_id)
            return str(rep(desk.stub.WithdrawApproval, request).approval.state)
        except AppError as refused:
            return refused.reason

    with ThreadPoolExecutor(2) as threads:
        outcomes = set(threads.map(act, [True, False]))
    ends = {str(pb.APPROVAL_STATE_PASSED), str(pb.APPROVAL_STATE_WITHDRAWN)}
    assert len(outcomes & ends) == 1
    assert len(outcomes) == 2


def test_a_step_that_waits_too_long_is_escalated(desk: Desk) -> None:
    wang, zhou = desk.company.add("wang", "sales_manager"), desk.company.add("zhou", "director")
    li = desk.company.add("li", "sales_rep")
    set_flow(desk, pb.FlowStep(name="经理", roles=["sales_manager"], escalate_role="director"))
    approval = desk.waiting(desk.company.caller("wang"), desk.order(li, "1"))
    store = desk.runtime.store
    with store.transaction(desk.company.tenant) as tx:
        submitter_id, step = step_to_remind(tx, approval.approval_id)
    assert step
    assert (submitter_id, step.step.escalate_role, step.overdue) == (li, "director", True)
    with store.transaction(desk.company.tenant) as tx:
        remind(tx, approval.approval_id, 1, 0, Approvers((wang,), escalated_ids=(zhou,)))
        told = whole(tx, approval.approval_id)
    assert (told.steps[0].approver_ids, told.steps[0].escalated) == ([wang, zhou], True)
    director = desk.company.caller("zhou")
    late = desk.waiting(director, approval.subject_id)
    assert late.steps[0].escalated
    assert director(desk.stub.DecideApproval, desk.decision(late)).approval.state == pb.APPROVAL_STATE_PASSED


def test_operators_see_how_many_steps_wait_too_long(desk: Desk) -> None:
    """Whether or not a workflow reminded of them: it may be what stands still."""
    database = desk.company.tenant.database
    gauges = (OVERDUE, OVERDUE_AGE)
    measurer = Measurer(desk.runtime.store, MEASURES)
    desk.company.add("wang", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    manager = desk.company.caller("wang")
    late, _in_time = (desk.waiting(manager, desk.order(li, "1")) for _ in range(2))
    before = measured(measurer, gauges, database)
    with desk.runtime.store.transaction(desk.company.tenant) as tx:
        long_ago = tx.now - timedelta(days=4000)
        mine = update(Approval).where(Approval.id == late.approval_id)
        tx.session.execute(mine.values(create_time=long_ago))
    overdue = measured(measurer, gauges, database)
    assert overdue[0] - before[0] == 1
    assert overdue[1] >= timedelta(days=3990).total_seconds()
    manager(desk.stub.DecideApproval, desk.decision(late))
    assert measured(measurer, gauges, database)[0] == before[0]


def test_a_contract_goes_through_the_same_engine(desk: Desk) -> None:
    """F180."""
    desk.company.add("wang", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    contract_id = new_id()
    data = {
        "contractId": contract_id,
        "number": "HT-1",
        "title": "年度框架",
        "amount": "50000.00",
        "submitterId": li,
        "shown": [{"name": "amount", "value": "50000.00"}],
    }
    desk.take(event_of(desk.company.tenant, "orders", "contract_submitted", data))
    manager = desk.company.caller("wang")
    approval = desk.waiting(manager, contract_id)
    assert (approval.title, approval.subject_type) == ("合同 HT-1：年度框架", pb.SUBJECT_TYPE_CONTRACT)
    passed = manager(desk.stub.DecideApproval, desk.decision(approval)).approval
    assert passed.state == pb.APPROVAL_STATE_PASSED
    assert emitted(desk.runtime.store, desk.company.tenant, "approval_rejected") == []
