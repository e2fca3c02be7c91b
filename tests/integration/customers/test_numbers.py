"""Numbers in full, for services that dial: never for a person, and accounted for."""

import pytest

from services.chassis.errors import NotFound
from services.chassis.ids import new_id
from services.customers.usecases.numbers import resolve_mobiles, resolve_number
from tests.integration.customers.office import Office
from tests.support.running import emitted


def test_a_number_is_resolved_by_its_record_and_accounted_for(office: Office) -> None:
    """Decision 9: commands to dial carry a record; what resolves it is audited."""
    customer = office.hire().create("", "13800138000", "021-62345678")
    phone_id = customer.phones[1].phone_id
    assert office.run(lambda tx: resolve_number(tx, customer.customer_id, phone_id).e164) == "+862162345678"
    (told,) = emitted(office.store, office.tenant, "audited")
    assert (told["action"], told["subjectId"]) == ("number_resolved", customer.customer_id)
    assert "62345678" not in str(told)


def test_a_number_of_another_record_is_not_found(office: Office) -> None:
    one, other = (office.hire().create("", number) for number in ("13800138001", "13800138002"))
    for customer_id, phone_id in ((one.customer_id, other.phones[0].phone_id), (one.customer_id, new_id())):
        with pytest.raises(NotFound):
            office.run(lambda tx, at=(customer_id, phone_id): resolve_number(tx, *at))  # type: ignore[misc]  # a default binds it


def test_the_mobiles_of_a_list_are_resolved_together_and_accounted_for(office: Office) -> None:
    """F212: landlines get no SMS; the order is the list's; the account names no number."""
    person = office.hire()
    first = person.create("", "021-62345671", "13800138003")
    landline, second = person.create("", "021-62345672"), person.create("", "13800138004")
    asked = [second.customer_id, landline.customer_id, first.customer_id, new_id()]
    found = office.run(lambda tx: resolve_mobiles(tx, asked))
    assert [(mobile.customer_id, mobile.number) for mobile in found] == [
        (second.customer_id, "+8613800138004"),
        (first.customer_id, "+8613800138003"),
    ]
    assert found[0].customer_name == second.name
    (told,) = emitted(office.store, office.tenant, "audited")
    assert (told["action"], told["details"]) == ("numbers_resolved", {"customers": "2", "numbers": "2"})
