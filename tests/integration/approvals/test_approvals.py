"""Registrations and orders through their approvals, on the real parts, in both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from crm.approvals.v1 import approvals_pb2 as pb
from crm.identity.v1 import identity_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import func, select

from services.approvals.store.tables import Decision
from services.approvals.usecases.approvals import STAND_IN_NOTE
from services.approvals.workflows.contracts import approval_workflow_id
from services.chassis.errors import AppError, Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.ids import new_id
from services.chassis.temporal import TemporalLink, WorkflowExecutionStatus
from tests.integration.approvals.conftest import SHOWN, Desk
from tests.support.running import event_of
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("running")


def ended(link: TemporalLink, approval_id: str) -> bool:
    """Return whether an approval's workflow is over."""
    handle_id = approval_workflow_id(approval_id)
    description = link.run(lambda client: client.get_workflow_handle(handle_id).describe())
    return description.status == WorkflowExecutionStatus.COMPLETED


def test_the_chosen_approver_passes_a_registration_once(desk: Desk) -> None:
    """F171, F172, F186: nobody else may, and a second decision is refused."""
    wang = desk.company.add("wang", "sales_manager")
    desk.company.add("wu", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    customer_id = desk.register(li, wang)
    manager = desk.company.caller("wang")
    approval = desk.waiting(manager, customer_id)
    assert (approval.title, approval.submitter_id) == ("客户报备：上海某某有限公司", li)
    assert [(field.name, field.value) for field in approval.shown] == [(f["name"], f["value"]) for f in SHOWN]
    assert (approval.state, approval.decidable, approval.open_step) == (pb.APPROVAL_STATE_OPEN, True, 0)

    other = desk.company.caller("wu").refused(desk.stub.DecideApproval, desk.decision(approval))
    assert isinstance(other, Forbidden)
    assert other.reason == "NOT_APPROVER"
    rep = desk.company.caller("li").refused(desk.stub.DecideApproval, desk.decision(approval))
    assert isinstance(rep, Forbidden)

    request = desk.decision(approval, comment=" 同意 ")
    passed = manager(desk.stub.DecideApproval, request).approval
    assert (passed.state, passed.open_step, passed.decidable) == (pb.APPROVAL_STATE_PASSED, -1, False)
    assert (passed.steps[0].decider_id, passed.steps[0].comment) == (wang, "同意")
    assert passed.steps[0].decide_time.ToSeconds() >= passed.create_time.ToSeconds()
    assert manager(desk.stub.DecideApproval, request).approval.version == passed.version
    again = manager.refused(desk.stub.DecideApproval, desk.decision(approval, passed=False, step=0))
    assert isinstance(again, RuleViolation)
    assert again.reason == "ALREADY_DECIDED"
    until(lambda: ended(desk.runtime.temporal, approval.approval_id))
    assert desk.listed(manager) == []
    assert [item.subject_id for item in desk.listed(manager, pb.APPROVAL_VIEW_DECIDED)] == [customer_id]


def test_an_order_from_10000_on_needs_manager_then_director(desk: Desk) -> None:
    """F175, F176, F178."""
    wang = desk.company.add("wang", "sales_manager")
    zhou = desk.company.add("zhou", "director")
    li = desk.company.add("li", "sales_rep")
    manager, director = desk.company.caller("wang"), desk.company.caller("zhou")
    order_id = desk.order(li, "10000.00")
    approval = desk.waiting(manager, order_id)
    assert [list(step.approver_ids) for step in approval.steps] == [[wang], [zhou]]
    assert desk.listed(director) == []
    early = director.refused(desk.stub.DecideApproval, desk.decision(approval, step=1))
    assert early.reason == "STEP_NOT_OPEN"
    after = manager(desk.stub.DecideApproval, desk.decision(approval)).approval
    assert (after.state, after.open_step, after.decidable) == (pb.APPROVAL_STATE_OPEN, 1, False)
    second = desk.waiting(director, order_id)
    rejected = director(
        desk.stub.DecideApproval, desk.decision(second, passed=False, comment="太贵")
    ).approval
    assert rejected.state == pb.APPROVAL_STATE_REJECTED
    assert [step.state for step in rejected.steps] == [pb.STEP_STATE_PASSED, pb.STEP_STATE_REJECTED]
    until(lambda: ended(desk.runtime.temporal, approval.approval_id))
    # The same order is submitted again and goes its way anew.
    desk.order(li, "9999.99", order_id)
    again = desk.waiting(manager, order_id)
    passed = manager(desk.stub.DecideApproval, desk.decision(again)).approval
    assert passed.state == pb.APPROVAL_STATE_PASSED
    assert [step.state for step in passed.steps] == [pb.STEP_STATE_PASSED, pb.STEP_STATE_AUTO_APPROVED]
    assert passed.steps[1].decider_id == ""
    assert passed.steps[1].HasField("decide_time")


def test_where_nobody_holds_the_role_administrators_decide_and_it_says_so(desk: Desk) -> None:
    li = desk.company.add("li", "sales_rep")
    approval = desk.waiting(desk.company.admin, desk.order(li, "1.00"))
    assert approval.steps[0].name == f"销售经理{STAND_IN_NOTE}"
    assert approval.decidable


@pytest.mark.parametrize("fault", ["disabled", "without the right", "the submitter", "nobody"])
def test_an_approver_who_cannot_decide_is_replaced_by_administrators(desk: Desk, fault: str) -> None:
    wang = desk.company.add("wang", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    submitter, approver = {
        "disabled": (li, wang),
        "without the right": (wang, li),
        "the submitter": (wang, wang),
        "nobody": (li, new_id()),
    }[fault]
    if fault == "disabled":
        person = identity_pb2.Person(person_id=wang, active=False, version=1)
        desk.company.admin(
            desk.company.stub.UpdatePerson,
            identity_pb2.UpdatePersonRequest(
                request_id=new_id(), person=person, update_mask=FieldMask(paths=["active"])
            ),
        )
    approval = desk.waiting(desk.company.admin, desk.register(submitter, approver))
    assert approval.steps[0].name.endswith(STAND_IN_NOTE)


def test_a_decision_must_quote_what_was_shown(desk: Desk) -> None:
    wang = desk.company.add("wang", "sales_manager")
    manager = desk.company.caller("wang")
    approval = desk.waiting(manager, desk.register(desk.company.add("li", "sales_rep"), wang))
    for quoted in ("", "0" * 64):
        refused = manager.refused(desk.stub.DecideApproval, desk.decision(approval, shown_hash=quoted))
        assert isinstance(refused, RuleViolation)
        assert refused.reason == "SHOWN_CHANGED"
    long = manager.refused(desk.stub.DecideApproval, desk.decision(approval, comment="好" * 501))
    assert isinstance(long, InvalidInput)
    assert long.reason == "COMMENT_LENGTH"
    neither = desk.decision(approval)
    neither.decision = pb.DECISION_UNSPECIFIED
    assert manager.refused(desk.stub.DecideApproval, neither).reason == "DECISION_MISSING"
    assert desk.waiting(manager, approval.subject_id).version == approval.version


def test_of_simultaneous_decisions_one_counts(desk: Desk) -> None:
    """Two managers, each pressing both buttons at once: one decision for the step."""
    desk.company.add("wang", "sales_manager")
    desk.company.add("wu", "sales_manager")
    order_id = desk.order(desk.company.add("li", "sales_rep"), "10.00")
    callers = [desk.company.caller("wang"), desk.company.caller("wu")]
    approval = desk.waiting(callers[0], order_id)

    def press(number: int) -> str:
        try:
            callers[number % 2](desk.stub.DecideApproval, desk.decision(approval, passed=number % 4 < 2))
        except AppError as error:
            return error.reason
        return "decided"

    with ThreadPoolExecutor(8) as threads:
        outcomes = sorted(threads.map(press, range(8)))
    assert outcomes == ["ALREADY_DECIDED"] * 7 + ["decided"]
    with desk.runtime.store.transaction(desk.company.tenant) as tx:
        counted = select(func.count()).where(Decision.approval_id == approval.approval_id)
        assert tx.session.scalar(counted) == 1


def test_only_those_concerned_see_an_approval(desk: Desk) -> None:
    wang = desk.company.add("wang", "sales_manager")
    desk.company.add("wu", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    customer_id = desk.register(li, wang)
    approval = desk.waiting(desk.company.caller("wang"), customer_id)
    request = pb.GetApprovalRequest(approval_id=approval.approval_id)
    for login in ("wang", "li"):
        assert desk.company.caller(login)(desk.stub.GetApproval, request).approval.subject_id == customer_id
    assert desk.company.admin(desk.stub.GetApproval, request).approval.decidable is False
    assert isinstance(desk.company.caller("wu").refused(desk.stub.GetApproval, request), NotFound)
    submitted = desk.listed(desk.company.caller("li"), pb.APPROVAL_VIEW_SUBMITTED)
    assert [item.approval_id for item in submitted] == [approval.approval_id]


def test_a_repeated_event_begins_one_approval(desk: Desk) -> None:
    wang = desk.company.add("wang", "sales_manager")
    customer_id = new_id()
    data = {
        "customerId": customer_id,
        "name": "重复",
        "approverId": wang,
        "submitterId": desk.company.add("li", "sales_rep"),
        "shown": SHOWN,
        "reservationId": new_id(),
    }
    event = event_of(desk.company.tenant, "customers", "registration_submitted", data)
    desk.take(event)
    desk.take(event)
    manager = desk.company.caller("wang")
    desk.waiting(manager, customer_id)
    assert len(desk.listed(manager)) == 1


def test_lists_are_paged_newest_first(desk: Desk) -> None:
    wang = desk.company.add("wang", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    manager = desk.company.caller("wang")
    subjects = [desk.register(li, wang) for _ in range(3)]
    until(lambda: len(desk.listed(manager)) == 3)
    first = manager(desk.stub.ListApprovals, pb.ListApprovalsRequest(page_size=2))
    second = manager(
        desk.stub.ListApprovals, pb.ListApprovalsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [item.subject_id for item in [*first.approvals, *second.approvals]] == subjects[::-1]
    assert second.next_page_token == ""


def test_the_flows_begin_as_presets(desk: Desk) -> None:
    """F177: what is asked is data of the tenant."""
    flows = desk.company.admin(desk.stub.ListFlows, pb.ListFlowsRequest()).flows
    assert [(flow.subject_type, flow.version) for flow in flows] == [
        (pb.SUBJECT_TYPE_REGISTRATION, 1),
        (pb.SUBJECT_TYPE_ORDER, 1),
        (pb.SUBJECT_TYPE_CONTRACT, 1),
        (pb.SUBJECT_TYPE_PAYMENT, 1),
        *((subject_type, 1) for subject_type in range(pb.SUBJECT_TYPE_EXPENSE, pb.SUBJECT_TYPE_OTHER + 1)),
    ]
    assert [(step.role, step.amount_from) for step in flows[1].steps] == [
        ("sales_manager", ""),
        ("director", "10000.00"),
    ]
