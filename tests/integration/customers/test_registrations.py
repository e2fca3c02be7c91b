"""Registrations: nothing is usable before an approval, and it is decided once."""

import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import pools_pb2

from services.chassis.db import Event, Store
from services.chassis.errors import AlreadyExists, NotFound, RuleViolation
from services.chassis.ids import new_id
from services.dedupe.events import handlers as dedupe_handlers
from tests.integration.customers.office import EAST, HEAD, MANAGER, Office, Person

APPROVER = frozenset({"approvals.decide"})


@pytest.fixture
def manager(office: Office) -> Person:
    """An approver in a tenant where registration is on."""
    manager = office.hire(MANAGER, HEAD, "department", name="黄蓉")
    office.settings(manager, registration_required=True)
    return manager


def relay_to_dedupe(office: Office, dedupe_store: Store, event_type: str) -> None:
    """Give dedupe what customers said, as the broker does."""
    (handler,) = [item for item in dedupe_handlers.all if item.event_type == event_type]
    for data in office.events(event_type):
        with dedupe_store.transaction(office.tenant) as tx:
            event = Event(new_id(), event_type, "customers", office.tenant, "", new_id(), 1, tx.now, data)
            handler.function(tx, event)


def test_a_manual_create_needs_an_approver(office: Office, manager: Person) -> None:
    """F169."""
    rep = office.hire()
    refused = rep.refused(rep.form())
    assert (refused.field, refused.reason) == ("approver_id", "APPROVER_MISSING")
    assert office.events("registration_submitted") == []


def test_a_registration_that_waits_is_not_usable(office: Office, manager: Person) -> None:
    """F170."""
    rep = office.hire()
    pending = rep.create("待审公司", "13800138000", approver_id=manager.id)
    assert (pending.state, pending.owner_id, pending.approver_id) == (
        pb.CUSTOMER_STATE_PENDING,
        "",
        manager.id,
    )
    assert pending.allowed_actions == []
    assert pending.phones[0].number == "+8613800138000"
    for request in (
        pb.AddFollowUpRequest(request_id=new_id(), customer_id=pending.customer_id, text="电话沟通"),
        pb.LockCustomerRequest(request_id=new_id(), customer_id=pending.customer_id),
        pb.ReturnCustomerRequest(request_id=new_id(), customer_id=pending.customer_id, reason="放弃"),
    ):
        assert rep.refused(request).reason == "CUSTOMER_NOT_ACTIVE"
    assert rep.claim(pending.customer_id) == ["CUSTOMER_NOT_ACTIVE"]
    assert rep.listed(pb.CUSTOMER_VIEW_MINE) == []
    assert rep.listed(pb.CUSTOMER_VIEW_REGISTRATIONS) == ["待审公司"]
    match = office.service("telephony")(
        office.stub.MatchPhone, pb.MatchPhoneRequest(number="13800138000", person_id=rep.id)
    )
    assert list(match.candidates) == []


def test_an_approver_is_told_what_is_shown_without_numbers(office: Office, manager: Person) -> None:
    rep = office.hire()
    pending = rep.create(
        "新客户公司",
        "13800138000",
        region="上海",
        approver_id=manager.id,
        contacts=[pb.ContactInput(name="李雷", phones=[pb.PhoneInput(number="13900139000")])],
    )
    (event,) = office.events("registration_submitted")
    assert (event["customerId"], event["approverId"], event["submitterId"], event["name"]) == (
        pending.customer_id,
        manager.id,
        rep.id,
        "新客户公司",
    )
    assert event["shown"] == [
        {"name": "name", "value": "新客户公司"},
        {"name": "region", "value": "上海"},
        {"name": "contacts", "value": "李雷"},
        {"name": "phones", "value": "+86138****8000、+86139****9000"},
    ]
    assert manager.get(pending.customer_id).phones[0].masked
    assert manager.listed(pb.CUSTOMER_VIEW_REGISTRATIONS) == ["新客户公司"]


def test_a_pass_makes_the_customer_exist_once(office: Office, manager: Person, dedupe_store: Store) -> None:
    """F172."""
    rep = office.hire()
    pending = rep.create("通过公司", approver_id=manager.id)
    for _ in range(2):
        office.decide(pending.customer_id, passed=True)
    found = rep.get(pending.customer_id)
    assert (found.state, found.owner_id) == (pb.CUSTOMER_STATE_ACTIVE, rep.id)
    assert [change.cause for change in rep.ledger(pending.customer_id)] == [pb.OWNERSHIP_CAUSE_REGISTER]
    assert len(office.events("registration_passed")) == len(office.events("customer_created")) == 1
    relay_to_dedupe(office, dedupe_store, "registration_passed")
    relay_to_dedupe(office, dedupe_store, "customer_created")
    with pytest.raises(RuleViolation, match="REGISTRATION_PASSED"):
        office.decide(pending.customer_id, passed=False)
    # Visible to the owner's superiors: the path came along.
    assert office.hire(MANAGER, EAST, "department").get(pending.customer_id).owner_id == rep.id


def test_a_rejection_frees_the_keys_and_leaves_only_history(
    office: Office, manager: Person, dedupe_store: Store
) -> None:
    """F174, O3."""
    rep, other = office.hire(name="杨康"), office.hire()
    pending = rep.create("被拒公司", "13800138000", approver_id=manager.id)
    refused = other.refused(other.form("被拒公司", approver_id=manager.id))
    assert isinstance(refused, AlreadyExists)
    assert refused.metadata["holder"] == "杨*"
    for _ in range(2):
        office.decide(pending.customer_id, passed=False)
    relay_to_dedupe(office, dedupe_store, "registration_rejected")
    assert rep.get(pending.customer_id).state == pb.CUSTOMER_STATE_REJECTED
    assert rep.ledger(pending.customer_id) == []
    other.create("被拒公司", "13800138000", approver_id=manager.id)
    with pytest.raises(RuleViolation, match="REGISTRATION_REJECTED"):
        office.decide(pending.customer_id, passed=True)


def test_the_request_of_a_rejected_registration_gets_its_old_answer(
    office: Office, manager: Person, dedupe_store: Store
) -> None:
    """It neither fails nor registers again."""
    rep = office.hire()
    form = rep.form("重发公司", approver_id=manager.id)
    first = rep(form)
    office.decide(first.customer.customer_id, passed=False)
    relay_to_dedupe(office, dedupe_store, "registration_rejected")
    assert rep(form) == first


def test_a_pass_over_a_lowered_cap_goes_to_the_pool_and_says_why(office: Office, manager: Person) -> None:
    """F29: an approval is not lost, and the cap holds."""
    rep = office.hire()
    rep_owned = rep.create(approver_id=manager.id)
    office.decide(rep_owned.customer_id, passed=True)
    pending = rep.create("超额公司", approver_id=manager.id)
    settings = office.settings(manager, registration_required=True, owner_cap=1)
    office.decide(pending.customer_id, passed=True)
    found = manager.get(pending.customer_id)
    assert (found.state, found.owner_id, found.pool_id) == (
        pb.CUSTOMER_STATE_ACTIVE,
        "",
        settings.default_pool_id,
    )
    (change,) = manager.ledger(pending.customer_id)
    assert change.reason == "保有量已满（1/1）"
    assert office.events("registration_passed")[-1]["ownerId"] == ""


def test_other_approvals_and_unknown_customers_are_told_apart(office: Office) -> None:
    office.tell("approval_passed", {"subjectType": "order", "subjectId": new_id()})
    with pytest.raises(NotFound):
        office.decide(new_id(), passed=True)
    with pytest.raises(NotFound):
        office.decide(new_id(), passed=False)


def test_colleagues_do_not_see_a_registration(office: Office, manager: Person) -> None:
    pending = office.hire().create(approver_id=manager.id)
    refused = office.hire().refused(pb.GetCustomerRequest(customer_id=pending.customer_id))
    assert refused.reason == "CUSTOMER_NOT_FOUND"


def placed(rep_id: str, customer_id: str, pool_id: str = "") -> pools_pb2.PlaceRegistrationRequest:
    """Return the request that places a customer; rep_id: "" for a pool."""
    return pools_pb2.PlaceRegistrationRequest(
        request_id=new_id(), customer_id=customer_id, person_id=rep_id, pool_id=pool_id, reason="区域调整"
    )


def test_whoever_passed_a_registration_gives_the_customer_to_another(office: Office, manager: Person) -> None:
    """F173: change the owner, once, and nobody else may."""
    rep, other = office.hire(), office.hire()
    chosen, decider = office.hire(APPROVER, HEAD), office.hire(APPROVER, HEAD)
    pending = rep.create("换人公司", approver_id=chosen.id)
    request = placed(other.id, pending.customer_id)
    assert chosen.refused(request).reason == "CUSTOMER_NOT_ACTIVE"
    # The step was handed on: who decided it places the customer, whoever was chosen at first.
    office.decide(pending.customer_id, passed=True, decider_id=decider.id)
    assert chosen.refused(request).reason == "NOT_REGISTRATION_APPROVER"
    assert decider.refused(placed(rep.id, pending.customer_id)).reason == "ALREADY_OWNER"
    for fault in (placed("", pending.customer_id), placed(other.id, pending.customer_id, pool_id=new_id())):
        assert decider.refused(fault).reason == "PLACE_MISSING"
    assert decider(request).owner_id == other.id
    assert other.get(pending.customer_id).owner_id == other.id
    assert decider.refused(placed(rep.id, pending.customer_id)).reason == "REGISTRATION_PLACED"
    assert [change.cause for change in other.ledger(pending.customer_id)][:2] == [
        pb.OWNERSHIP_CAUSE_TRANSFER,
        pb.OWNERSHIP_CAUSE_REGISTER,
    ]


def test_whoever_passed_a_registration_moves_the_customer_to_a_pool(office: Office, manager: Person) -> None:
    """F173: from then on it is anybody's in the pool."""
    rep, other, decider = office.hire(), office.hire(), office.hire(APPROVER, HEAD)
    pool_id = office.pool(manager).pool_id
    pending = rep.create("转公海公司", approver_id=decider.id)
    office.decide(pending.customer_id, passed=True, decider_id=decider.id)
    assert decider.refused(placed("", pending.customer_id, pool_id=new_id())).reason == "POOL_NOT_FOUND"
    answer = decider(placed("", pending.customer_id, pool_id=pool_id))
    assert (answer.owner_id, answer.pool_id) == ("", pool_id)
    assert other.claim(pending.customer_id) == ["done"]
