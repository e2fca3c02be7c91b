"""What customers answers other services: who has a number, and what a conversion writes."""

import pytest
from crm.customers.v1 import customers_pb2 as pb
from sqlalchemy import event as sqlalchemy_event

from services.chassis.ids import new_id
from services.customers.usecases.matching import match_phone
from tests.integration.customers.office import MANAGER, Office, Person


def match(office: Office, number: str, person: Person | None = None) -> pb.MatchPhoneResponse:
    """Ask as telephony does."""
    request = pb.MatchPhoneRequest(number=number, person_id=person.id if person else "")
    answer: pb.MatchPhoneResponse = office.service("telephony")(office.stub.MatchPhone, request)
    return answer


def shared(number: str) -> list[pb.ContactInput]:
    """Return a contact with this number."""
    return [pb.ContactInput(name="总机", phones=[pb.PhoneInput(number=number)])]


def test_a_caller_is_found_over_customers_and_contacts_pools_too(office: Office) -> None:
    """F3."""
    manager, rep = office.hire(MANAGER), office.hire()
    own = rep.create("自有公司", contacts=shared("13800138000"))
    pooled = manager.create("公海公司", "13800138000", pool_id=office.pool(manager).pool_id)
    answer = match(office, "013800138000", rep)
    assert (answer.e164, answer.masked_number) == ("+8613800138000", "+86138****8000")
    assert [(item.customer_name, item.contact_name, list(item.reasons)) for item in answer.candidates] == [
        ("自有公司", "总机", ["exact_number", "own_customer"]),
        ("公海公司", "", ["exact_number"]),
    ]
    assert [item.owner_id for item in answer.candidates] == [rep.id, ""]
    assert [item.customer_id for item in answer.candidates] == [own.customer_id, pooled.customer_id]
    assert answer.candidates[0].contact_id == own.contacts[0].contact_id


def test_the_rung_persons_customer_comes_first_then_the_one_last_worked_on(office: Office) -> None:
    manager, rep, colleague = office.hire(MANAGER), office.hire(), office.hire()
    colleagues = colleague.create("同事公司", "4008123456")
    manager.create("公海公司", contacts=shared("4008123456"), pool_id=office.pool(manager).pool_id)
    note = pb.AddFollowUpRequest(request_id=new_id(), customer_id=colleagues.customer_id, text="已联系")
    names = [item.customer_name for item in match(office, "400-812-3456").candidates]
    assert names == ["公海公司", "同事公司"]
    colleague(note)
    answer = match(office, "400-812-3456", rep)
    assert [(item.customer_name, list(item.reasons)) for item in answer.candidates] == [
        ("同事公司", ["exact_number", "recent"]),
        ("公海公司", ["exact_number"]),
    ]
    rep.claim(answer.candidates[1].customer_id)
    names = [item.customer_name for item in match(office, "400-812-3456", rep).candidates]
    assert names == ["公海公司", "同事公司"]


@pytest.mark.parametrize("number", ["anonymous", "801", "", "<unknown>"])
def test_what_cannot_be_a_caller_matches_nobody(office: Office, number: str) -> None:
    answer = match(office, number)
    assert (list(answer.candidates), answer.e164) == ([], "")


def test_a_match_is_one_statement(office: Office) -> None:
    """What it reads, test_unforeseen counts."""
    statements: list[str] = []
    engine = office.store.engine("main")

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    try:
        office.run(lambda tx: match_phone(tx, "+8613800138000", new_id()))
    finally:
        sqlalchemy_event.remove(engine, "before_cursor_execute", note)
    assert len(statements) == 1


def conversion(actor: Person, **fields: object) -> pb.CreateForConversionRequest:
    """Return a conversion's request for a new customer with a contact."""
    values: dict[str, object] = {
        "request_id": new_id(),
        "reservation_id": new_id(),
        "actor_id": actor.id,
        "customer_id": new_id(),
        "create_customer": True,
        "name": "转化公司",
        "contact_id": new_id(),
        "contact_name": "李雷",
        "contact_phone": "+8613800138000",
    }
    return pb.CreateForConversionRequest(**(values | fields))  # type: ignore[arg-type]  # keywords of several types


def test_a_conversion_writes_customer_and_contact_once(office: Office) -> None:
    """F120, F126."""
    rep, leads = office.hire(), office.service("leads")
    request = conversion(rep)
    for _ in range(2):
        leads(office.stub.CreateForConversion, request)
    found = rep.get(request.customer_id)
    assert (found.name, found.owner_id, found.state) == ("转化公司", rep.id, pb.CUSTOMER_STATE_ACTIVE)
    assert [(item.contact_id, item.name, item.phones[0].number) for item in found.contacts] == [
        (request.contact_id, "李雷", "+8613800138000")
    ]
    assert [change.cause for change in rep.ledger(request.customer_id)] == [pb.OWNERSHIP_CAUSE_CONVERT]
    (event,) = office.events("customer_created")
    assert (event["reservationId"], event["ownerId"]) == (request.reservation_id, rep.id)
    assert office.events("contact_created") == []


def test_a_conversion_adds_a_contact_to_an_existing_customer(office: Office) -> None:
    """F123."""
    owner, rep = office.hire(), office.hire()
    existing = owner.create("老客户", contacts=[pb.ContactInput(name="先到")])
    request = conversion(rep, customer_id=existing.customer_id, create_customer=False, name="")
    office.service("leads")(office.stub.CreateForConversion, request)
    found = owner.get(existing.customer_id)
    assert found.owner_id == owner.id
    assert [item.name for item in found.contacts] == ["先到", "李雷"]
    (event,) = office.events("contact_created")
    assert (event["contactId"], event["reservationId"]) == (request.contact_id, request.reservation_id)


def test_a_conversion_is_refused_whole(office: Office) -> None:
    """F29, F127: by the cap, by a registration that waits, by a reservation that was given up."""
    manager, rep, leads = office.hire(MANAGER), office.hire(), office.service("leads")
    office.settings(manager, owner_cap=1, registration_required=True)
    pending = rep.create(approver_id=manager.id)
    over = conversion(rep)
    assert leads.refused(office.stub.CreateForConversion, over).reason == "OWNER_CAP_REACHED"
    assert rep.refused(pb.GetCustomerRequest(customer_id=over.customer_id)).reason == "CUSTOMER_NOT_FOUND"
    waits = conversion(rep, customer_id=pending.customer_id, create_customer=False)
    assert leads.refused(office.stub.CreateForConversion, waits).reason == "CUSTOMER_NOT_ACTIVE"
    unknown = conversion(rep, create_customer=False)
    assert leads.refused(office.stub.CreateForConversion, unknown).reason == "CUSTOMER_NOT_FOUND"
    late = conversion(manager)
    settle = pb.SettleReservationRequest(reservation_id=late.reservation_id)
    assert leads(office.stub.SettleReservation, settle).result == pb.SETTLE_RESULT_CANCELLED
    assert leads.refused(office.stub.CreateForConversion, late).reason == "RESERVATION_CANCELLED"
    assert office.events("customer_created") == office.events("contact_created") == []


def test_people_cannot_ask_what_is_for_services(office: Office) -> None:
    admin = office.hire(MANAGER, scope="all")
    for request in (pb.MatchPhoneRequest(), pb.CreateForConversionRequest(), pb.SettleReservationRequest()):
        assert admin.refused(request).code == "PERMISSION_DENIED"
