"""Who decides, in whose place, and what becomes of it when they leave: superiors, all-of, deputies, leavers, rounds."""

from datetime import timedelta

import pytest
from crm.approvals.v1 import approvals_pb2 as pb
from crm.identity.v1 import identity_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select

from services.approvals.store.tables import Decision
from services.approvals.usecases.approvals import NAMED_NOTE
from services.approvals.workflows.contracts import approval_workflow_id
from services.chassis.clock import utc_now
from services.chassis.errors import Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.ids import new_id
from tests.integration.approvals.conftest import Desk, finished
from tests.support.callers import Caller
from tests.support.running import emitted, event_of
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("running")


def set_flow(desk: Desk, *steps: pb.FlowStep, of: pb.SubjectType.ValueType, **rules: int) -> None:
    """Set a flow as the administrator."""
    admin = desk.company.admin
    flows = admin(desk.stub.ListFlows, pb.ListFlowsRequest()).flows
    version = next(flow.version for flow in flows if flow.subject_type == of)
    request = pb.UpdateFlowRequest(
        request_id=new_id(),
        subject_type=of,
        steps=steps,
        version=version,
        **rules,  # type: ignore[arg-type]  # numbers of enums
    )
    admin(desk.stub.UpdateFlow, request)


def ask(desk: Desk, caller: Caller, title: str = "差旅费", **more: str) -> pb.Approval:
    """Submit an expense, or one again."""
    request = pb.SubmitRequestRequest(
        request_id=new_id(),
        subject_type=pb.SUBJECT_TYPE_EXPENSE,
        title=title,
        **{"amount": "800.00", **more},
    )
    answer: pb.SubmitRequestResponse = caller(desk.stub.SubmitRequest, request)
    return answer.approval


def looked_at(desk: Desk, caller: Caller, approval_id: str) -> pb.Approval:
    """Return an approval as somebody sees it."""
    answer: pb.GetApprovalResponse = caller(
        desk.stub.GetApproval, pb.GetApprovalRequest(approval_id=approval_id)
    )
    return answer.approval


def head(desk: Desk, department: str, person_id: str) -> None:
    """Make somebody the head of a department."""
    listed = desk.company.admin(
        desk.company.stub.ListDepartments, identity_pb2.ListDepartmentsRequest()
    ).departments
    found = next(
        item for item in listed if item.name == department or (not department and not item.parent_id)
    )
    request = identity_pb2.UpdateDepartmentRequest(
        request_id=new_id(),
        department=identity_pb2.Department(
            department_id=found.department_id, head_id=person_id, version=found.version
        ),
        update_mask=FieldMask(paths=["head_id"]),
    )
    desk.company.admin(desk.company.stub.UpdateDepartment, request)


def switch_off(desk: Desk, person_id: str) -> None:
    """Disable somebody, and let approvals hear of it."""
    person = identity_pb2.Person(person_id=person_id, active=False, version=1)
    request = identity_pb2.UpdatePersonRequest(
        request_id=new_id(), person=person, update_mask=FieldMask(paths=["active"])
    )
    desk.company.admin(desk.company.stub.UpdatePerson, request)
    data = {"personId": person_id, "active": False, "rights": [], "departmentPath": ""}
    desk.take(event_of(desk.company.tenant, "identity", "person_saved", data, version=2))


def later(**span: float) -> Timestamp:
    """Return a time from now on."""
    stamp = Timestamp()
    stamp.FromDatetime(utc_now() + timedelta(**span))
    return stamp


def test_an_expense_goes_to_the_superior_and_then_to_the_one_above(desk: Desk) -> None:
    """F181: a flow on a request of one's own; the second superior heads the department above."""
    desk.company.add_department("华东")
    wang = desk.company.add("wang", "sales_manager", department="华东")
    zhou = desk.company.add("zhou", "director")
    desk.company.add("li", "sales_rep", department="华东")
    head(desk, "华东", wang)
    head(desk, "", zhou)
    set_flow(
        desk,
        pb.FlowStep(name="直属上级", superior_level=1),
        pb.FlowStep(name="上级的上级", superior_level=2),
        pb.FlowStep(name="本部门负责人", head_of="own"),
        of=pb.SUBJECT_TYPE_EXPENSE,
        repeat=pb.REPEAT_PASS,
    )
    rep, manager, director = (desk.company.caller(login) for login in ("li", "wang", "zhou"))
    preview = rep(
        desk.stub.PreviewApproval,
        pb.PreviewApprovalRequest(subject_type=pb.SUBJECT_TYPE_EXPENSE, amount="800"),
    )
    assert [list(step.approver_ids) for step in preview.steps] == [[wang], [zhou], [wang]]
    asked = ask(desk, rep, details="高铁往返")
    assert asked.title == "费用：差旅费"
    first = desk.waiting(manager, asked.subject_id)
    manager(desk.stub.DecideApproval, desk.decision(first))
    passed = director(
        desk.stub.DecideApproval, desk.decision(desk.waiting(director, asked.subject_id))
    ).approval
    # The head of the department has passed it as the superior: not asked twice, and history says so.
    assert passed.state == pb.APPROVAL_STATE_PASSED
    assert [(step.state, step.auto_reason) for step in passed.steps] == [
        (pb.STEP_STATE_PASSED, pb.AUTO_REASON_UNSPECIFIED),
        (pb.STEP_STATE_PASSED, pb.AUTO_REASON_UNSPECIFIED),
        (pb.STEP_STATE_AUTO_APPROVED, pb.AUTO_REASON_REPEATED),
    ]


@pytest.mark.parametrize("desk", ["main"], indirect=True)
def test_all_of_several_people_decide_each_once_and_in_turn_where_the_flow_says_so(desk: Desk) -> None:
    wang, zhou = desk.company.add("wang", "sales_manager"), desk.company.add("zhou", "director")
    desk.company.add("li", "sales_rep")
    rep, manager, director = (desk.company.caller(login) for login in ("li", "wang", "zhou"))
    set_flow(
        desk,
        pb.FlowStep(name="会签", person_ids=[wang, zhou], mode=pb.STEP_MODE_ALL),
        pb.FlowStep(name="依次", person_ids=[zhou, wang], mode=pb.STEP_MODE_IN_TURN),
        of=pb.SUBJECT_TYPE_EXPENSE,
    )
    subject = ask(desk, rep).subject_id
    waiting = desk.waiting(director, subject)
    assert desk.waiting(manager, subject).steps[0].approver_ids == [wang, zhou]
    director(desk.stub.DecideApproval, desk.decision(waiting, comment="同意"))
    assert desk.listed(director) == []
    again = director.refused(desk.stub.DecideApproval, desk.decision(waiting))
    assert again.reason == "ALREADY_DECIDED"
    after = manager(desk.stub.DecideApproval, desk.decision(waiting)).approval
    assert (after.open_step, list(after.steps[1].approver_ids)) == (1, [zhou])
    assert manager.refused(desk.stub.DecideApproval, desk.decision(after)).reason == "STEP_NOT_OPEN"
    after = director(desk.stub.DecideApproval, desk.decision(after)).approval
    assert list(after.steps[1].approver_ids) == [wang]
    done = manager(desk.stub.DecideApproval, desk.decision(after)).approval
    assert done.state == pb.APPROVAL_STATE_PASSED
    assert [(row.decider_id, row.comment) for row in done.steps[0].decisions] == [(zhou, "同意"), (wang, "")]
    with desk.runtime.store.transaction(desk.company.tenant) as tx:
        rows = tx.session.scalars(select(Decision).where(Decision.approval_id == done.approval_id)).all()
    assert {(row.step_index, row.seat) for row in rows} == {(0, wang), (0, zhou), (1, wang), (1, zhou)}
    assert {row.shown_hash for row in rows} == {done.shown_hash}


@pytest.mark.parametrize("desk", ["main"], indirect=True)
@pytest.mark.parametrize(
    ("when_empty", "state"),
    [
        (pb.WHEN_EMPTY_PASS, pb.APPROVAL_STATE_PASSED),
        (pb.WHEN_EMPTY_REFUSE, pb.APPROVAL_STATE_REJECTED),
        (pb.WHEN_EMPTY_NAMED, pb.APPROVAL_STATE_OPEN),
    ],
)
def test_where_nobody_fits_the_flow_says_what_then(
    desk: Desk, when_empty: pb.WhenEmpty.ValueType, state: pb.ApprovalState.ValueType
) -> None:
    wang = desk.company.add("wang", "sales_manager")
    desk.company.add("li", "sales_rep")
    named = [wang] if when_empty == pb.WHEN_EMPTY_NAMED else []
    step = pb.FlowStep(name="财务", roles=["finance"], when_empty=when_empty, stand_in_ids=named)
    set_flow(desk, step, of=pb.SUBJECT_TYPE_EXPENSE)
    rep = desk.company.caller("li")
    approval_id = ask(desk, rep).approval_id
    until(lambda: looked_at(desk, rep, approval_id).state != pb.APPROVAL_STATE_PREPARING, timeout_s=60)
    seen = looked_at(desk, rep, approval_id)
    assert seen.state == state
    if named:
        assert (list(seen.steps[0].approver_ids), seen.steps[0].name) == ([wang], f"财务{NAMED_NOTE}")
    else:
        assert seen.steps[0].auto_reason == pb.AUTO_REASON_NOBODY


def test_a_step_is_asked_only_of_what_meets_its_condition(desk: Desk) -> None:
    """F177: conditions on fields, and a running approval keeps them."""
    wang, zhou = desk.company.add("wang", "sales_manager"), desk.company.add("zhou", "director")
    li = desk.company.add("li", "sales_rep")
    condition = '{"field": "lines", "op": "contains", "value": "空调"}'
    set_flow(
        desk,
        pb.FlowStep(name="经理", person_ids=[wang]),
        pb.FlowStep(name="总监", person_ids=[zhou], condition=condition),
        of=pb.SUBJECT_TYPE_ORDER,
    )
    rep, manager = desk.company.caller("li"), desk.company.caller("wang")

    def previewed(line: str) -> list[int]:
        request = pb.PreviewApprovalRequest(
            subject_type=pb.SUBJECT_TYPE_ORDER, amount="5", facts=f'{{"line 1": "{line}"}}'
        )
        return [step.state for step in rep(desk.stub.PreviewApproval, request).steps]

    assert previewed("电视 × 1") == [pb.STEP_STATE_WAITING, pb.STEP_STATE_AUTO_APPROVED]
    assert previewed("空调 × 1") == [pb.STEP_STATE_WAITING, pb.STEP_STATE_WAITING]
    approval = desk.waiting(manager, desk.order(li, "5.00"))
    passed = manager(desk.stub.DecideApproval, desk.decision(approval)).approval
    assert [step.state for step in passed.steps] == [pb.STEP_STATE_PASSED, pb.STEP_STATE_AUTO_APPROVED]
    assert passed.steps[1].auto_reason == pb.AUTO_REASON_CONDITION
    bad = pb.FlowStep(
        name="总监", person_ids=[zhou], condition='{"field": "colour", "op": "eq", "value": "红"}'
    )
    with pytest.raises(InvalidInput, match="FILTER_FIELD_UNKNOWN"):
        set_flow(desk, bad, of=pb.SUBJECT_TYPE_ORDER)


def test_a_change_voids_the_round_and_the_next_one_shows_what_changed(desk: Desk) -> None:
    """A decision on what was changed meanwhile is refused, and the hash of each round stays with it."""
    wang = desk.company.add("wang", "sales_manager")
    desk.company.add("li", "sales_rep")
    rep, manager = desk.company.caller("li"), desk.company.caller("wang")
    set_flow(desk, pb.FlowStep(name="经理", person_ids=[wang]), of=pb.SUBJECT_TYPE_EXPENSE)
    first = desk.waiting(manager, ask(desk, rep, about="上海某某").subject_id)
    assert (first.round, list(first.changes)) == (1, [])
    again = ask(desk, rep, amount="1800.00", subject_id=first.subject_id)
    assert again.approval_id != first.approval_id
    stale = manager.refused(desk.stub.DecideApproval, desk.decision(first))
    assert isinstance(stale, RuleViolation)
    assert looked_at(desk, manager, first.approval_id).state == pb.APPROVAL_STATE_VOIDED
    second = desk.waiting(manager, first.subject_id)
    assert (second.round, second.last_shown_time) == (2, first.create_time)
    assert [(change.name, change.before, change.after) for change in second.changes] == [
        ("amount", "800.00", "1800.00"),
        ("about", "上海某某", ""),
    ]
    assert len(desk.listed(manager)) == 1
    passed = manager(desk.stub.DecideApproval, desk.decision(second)).approval
    assert passed.steps[0].decisions[0].shown_hash == second.shown_hash != first.shown_hash
    # Somebody else's request is nobody's to submit again.
    foreign = pb.SubmitRequestRequest(
        request_id=new_id(),
        subject_type=pb.SUBJECT_TYPE_EXPENSE,
        title="他人",
        amount="1",
        subject_id=first.subject_id,
    )
    assert isinstance(manager.refused(desk.stub.SubmitRequest, foreign), NotFound)


@pytest.mark.parametrize("desk", ["main"], indirect=True)
def test_an_order_submitted_anew_while_it_waits_is_another_round(desk: Desk) -> None:
    """The change came from the service that owns the order: what was shown is void."""
    desk.company.add("wang", "sales_manager")
    li = desk.company.add("li", "sales_rep")
    manager = desk.company.caller("wang")
    first = desk.waiting(manager, desk.order(li, "100.00"))
    desk.order(li, "200.00", first.subject_id)
    until(lambda: [item.round for item in desk.listed(manager)] == [2], timeout_s=60)
    (second,) = desk.listed(manager)
    assert [(change.name, change.before, change.after) for change in second.changes] == [
        ("金额", "100.00", "200.00")
    ]
    assert manager.refused(desk.stub.DecideApproval, desk.decision(first)).reason == "STEP_NOT_OPEN"


def test_a_deputy_decides_in_the_place_of_an_approver_what_waits_already(desk: Desk) -> None:
    wang, wu = desk.company.add("wang", "sales_manager"), desk.company.add("wu", "sales_manager")
    li, zhao = desk.company.add("li", "sales_rep"), desk.company.add("zhao", "sales_rep")
    manager, deputy = desk.company.caller("wang"), desk.company.caller("wu")
    approval = desk.waiting(manager, desk.register(li, wang))

    def named(
        to: str, person_id: str = "", begin: Timestamp | None = None, end: Timestamp | None = None
    ) -> pb.CreateDeputyRequest:
        return pb.CreateDeputyRequest(
            request_id=new_id(),
            person_id=person_id,
            to_person_id=to,
            comment="休假",
            begin_time=begin,
            end_time=end or later(days=7),
        )

    assert manager.refused(desk.stub.CreateDeputy, named(zhao)).reason == "DELEGATE_CANNOT_DECIDE"
    assert manager.refused(desk.stub.CreateDeputy, named(wang)).reason == "DEPUTY_INVALID"
    past = named(wu, end=later(days=-1))
    assert manager.refused(desk.stub.CreateDeputy, past).reason == "DEPUTY_TIME_INVALID"
    refused = manager.refused(desk.stub.CreateDeputy, named(wang, person_id=wu))
    assert isinstance(refused, Forbidden)
    manager(desk.stub.CreateDeputy, named(wu, begin=later(days=1)))
    assert desk.listed(deputy) == []
    made = manager(desk.stub.CreateDeputy, named(wu)).deputy
    (seen,) = desk.listed(deputy)
    assert (seen.approval_id, seen.decidable, seen.acting_for_id) == (approval.approval_id, True, wang)
    # What comes is the deputy's as well; the own submission is not.
    own = desk.register(wu, wang)
    mine = desk.waiting(manager, own)
    assert [item.subject_id for item in desk.listed(deputy)] == [approval.subject_id]
    assert deputy.refused(desk.stub.DecideApproval, desk.decision(mine)).reason == "NOT_APPROVER"
    passed = deputy(desk.stub.DecideApproval, desk.decision(approval)).approval
    (row,) = passed.steps[0].decisions
    assert (row.decider_id, row.for_person_id, row.passed) == (wu, wang, True)
    third = desk.waiting(deputy, desk.register(li, wang))
    deputy(desk.stub.EndDeputy, pb.EndDeputyRequest(request_id=new_id(), deputy_id=made.deputy_id))
    assert desk.listed(deputy) == []
    assert deputy.refused(desk.stub.DecideApproval, desk.decision(third)).reason == "NOT_APPROVER"
    listed = manager(desk.stub.ListDeputies, pb.ListDeputiesRequest()).deputies
    assert [item.to_person_id for item in listed] == [wu]


def test_a_leaver_holds_nothing_up_and_history_stays(desk: Desk) -> None:
    """Open and coming steps find others at once; what the leaver decided stays as it was."""
    wang, wu = desk.company.add("wang", "sales_manager"), desk.company.add("wu", "sales_manager")
    zhou = desk.company.add("zhou", "director")
    li = desk.company.add("li", "sales_rep")
    set_flow(
        desk,
        pb.FlowStep(name="会签", person_ids=[wang, wu], mode=pb.STEP_MODE_ALL),
        pb.FlowStep(name="终审", person_ids=[wang]),
        of=pb.SUBJECT_TYPE_ORDER,
    )
    manager, other, admin = desk.company.caller("wang"), desk.company.caller("wu"), desk.company.admin
    approval = desk.waiting(manager, desk.order(li, "10.00"))
    manager(desk.stub.DecideApproval, desk.decision(approval, comment="可以"))
    switch_off(desk, wang)
    until(
        lambda: wang not in looked_at(desk, admin, approval.approval_id).steps[1].approver_ids, timeout_s=60
    )
    after = other(desk.stub.DecideApproval, desk.decision(approval)).approval
    assert (after.open_step, zhou in after.steps[1].approver_ids) == (1, False)
    assert [(row.decider_id, row.comment) for row in after.steps[0].decisions] == [(wang, "可以"), (wu, "")]
    assert admin(desk.stub.DecideApproval, desk.decision(after)).approval.state == pb.APPROVAL_STATE_PASSED
    # The one whom all wait for leaves: the others' consent is enough.
    second = desk.order(li, "10.00")
    open_now = desk.waiting(other, second)
    other(desk.stub.DecideApproval, desk.decision(open_now))
    seen = looked_at(desk, admin, open_now.approval_id)
    assert (seen.open_step, wang in seen.steps[0].seat_ids) == (1, False)


@pytest.mark.parametrize("desk", ["main"], indirect=True)
def test_a_flow_says_when_a_submission_may_be_taken_back(desk: Desk) -> None:
    wang, zhou = desk.company.add("wang", "sales_manager"), desk.company.add("zhou", "director")
    desk.company.add("li", "sales_rep")
    rep, manager = desk.company.caller("li"), desk.company.caller("wang")
    steps = (pb.FlowStep(name="一", person_ids=[wang]), pb.FlowStep(name="二", person_ids=[zhou]))

    def withdrawn(approval: pb.Approval) -> pb.WithdrawApprovalRequest:
        return pb.WithdrawApprovalRequest(request_id=new_id(), approval_id=approval.approval_id)

    set_flow(desk, *steps, of=pb.SUBJECT_TYPE_EXPENSE, recall=pb.RECALL_UNTOUCHED)
    asked = ask(desk, rep)
    assert asked.withdrawable
    manager(desk.stub.DecideApproval, desk.decision(desk.waiting(manager, asked.subject_id)))
    assert not looked_at(desk, rep, asked.approval_id).withdrawable
    assert rep.refused(desk.stub.WithdrawApproval, withdrawn(asked)).reason == "RECALL_REFUSED"
    set_flow(desk, *steps, of=pb.SUBJECT_TYPE_EXPENSE, recall=pb.RECALL_NEVER)
    asked = ask(desk, rep)
    desk.waiting(manager, asked.subject_id)
    assert rep.refused(desk.stub.WithdrawApproval, withdrawn(asked)).reason == "RECALL_REFUSED"


@pytest.mark.parametrize("desk", ["main"], indirect=True)
def test_what_nobody_could_be_asked_for_is_taken_back_whatever_the_flow_says(desk: Desk) -> None:
    """F177: the only administrator submits, and nobody else may decide: it waits for an approver, but not for ever."""
    desk.company.add("li", "sales_rep")
    step = pb.FlowStep(name="财务", roles=["finance"])
    set_flow(desk, step, of=pb.SUBJECT_TYPE_EXPENSE, recall=pb.RECALL_NEVER)
    admin = desk.company.admin
    question = pb.PreviewApprovalRequest(subject_type=pb.SUBJECT_TYPE_EXPENSE, amount="800")
    assert admin.refused(desk.stub.PreviewApproval, question).reason == "NO_APPROVER"
    asked = ask(desk, admin)
    assert (asked.state, asked.withdrawable) == (pb.APPROVAL_STATE_PREPARING, True)
    request = pb.WithdrawApprovalRequest(request_id=new_id(), approval_id=asked.approval_id)
    assert admin(desk.stub.WithdrawApproval, request).approval.state == pb.APPROVAL_STATE_WITHDRAWN
    handle_id = approval_workflow_id(asked.approval_id)
    until(lambda: finished(desk, handle_id), timeout_s=120)


@pytest.mark.parametrize("desk", ["main"], indirect=True)
def test_a_request_is_refused_with_its_field(desk: Desk) -> None:
    desk.company.add("li", "sales_rep")
    rep = desk.company.caller("li")

    def refused(**fields: object) -> tuple[str, str]:
        whole = {"subject_type": pb.SUBJECT_TYPE_EXPENSE, "title": "差旅", "amount": "1", **fields}
        error = rep.refused(desk.stub.SubmitRequest, pb.SubmitRequestRequest(request_id=new_id(), **whole))  # type: ignore[arg-type]  # a table of fields of several types
        assert isinstance(error, InvalidInput)
        return error.field, error.reason

    assert refused(title=" ") == ("title", "TEXT_EMPTY")
    assert refused(amount="") == ("amount", "AMOUNT_MISSING")
    assert refused(amount="x")[0] == "amount"
    assert refused(details="字" * 2001) == ("details", "TEXT_TOO_LONG")
    assert refused(subject_type=pb.SUBJECT_TYPE_ORDER) == ("subject_type", "SUBJECT_TYPE_UNKNOWN")
    assert emitted(desk.runtime.store, desk.company.tenant, "approval_changed") == []
