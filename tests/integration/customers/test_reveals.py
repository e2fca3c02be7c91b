"""A masked number is shown for a reason, so many a day, and accounted for."""

import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import reveals_pb2

from services.chassis.ids import new_id
from services.customers.usecases import reveals
from tests.integration.customers.office import EAST, REP, WEST, Office, Person
from tests.support.running import emitted

REVEALER = REP | {"numbers.reveal"}


def asking(customer: pb.Customer, number: int = 0, reason: str = "回访") -> reveals_pb2.RevealNumberRequest:
    return reveals_pb2.RevealNumberRequest(
        request_id=new_id(),
        customer_id=customer.customer_id,
        phone_id=customer.phones[number].phone_id,
        reason=reason,
    )


def customer_of(office: Office, *phones: str) -> pb.Customer:
    """Return somebody else's customer, as its owner sees it."""
    return office.hire(path=EAST).create("", *phones)


def colleague(office: Office) -> Person:
    return office.hire(REVEALER, EAST, "department")


def test_a_number_is_shown_with_a_reason_and_accounted_for(office: Office) -> None:
    customer, asker = customer_of(office, "13800138000"), colleague(office)
    assert asker.get(customer.customer_id).phones[0].number == "+86138****8000"
    answer = asker(asking(customer))
    assert (answer.phone.number, answer.phone.masked) == ("+8613800138000", False)
    assert answer.left_today == reveals.DAILY_REVEALS - 1
    assert asker(asking(customer)).left_today == reveals.DAILY_REVEALS - 1
    told = emitted(office.store, office.tenant, "audited")
    assert [(item["action"], item["subjectId"], item["details"]["reason"]) for item in told] == [
        ("number_revealed", customer.customer_id, "回访")
    ] * 2
    assert "13800138000" not in str(told)


def test_what_is_refused_shows_nothing(office: Office) -> None:
    customer = customer_of(office, "13800138000")
    assert colleague(office).refused(asking(customer, reason=" ")).reason == "TEXT_EMPTY"
    assert office.hire(REP, EAST, "department").refused(asking(customer)).reason == "RIGHT_MISSING"
    stranger = office.hire(REVEALER, WEST, "department")
    assert stranger.refused(asking(customer)).reason == "CUSTOMER_NOT_FOUND"
    other = customer_of(office, "13700137000")
    mixed = asking(customer)
    mixed.phone_id = other.phones[0].phone_id
    assert colleague(office).refused(mixed).reason == "PHONE_NOT_FOUND"


def test_a_day_has_a_budget_of_different_numbers(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reveals, "DAILY_REVEALS", 2)
    customer = customer_of(office, "13800138000", "13700137000", "13600136000")
    asker = colleague(office)
    for number in (0, 1, 0):
        asker(asking(customer, number))
    refused = asker.refused(asking(customer, 2))
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "REVEALS_USED_UP")
    # Somebody else's budget is another.
    assert colleague(office)(asking(customer, 2)).left_today == 1
