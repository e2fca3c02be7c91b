"""What a conversion links to, and when what is there already refuses it."""

import pytest

from services.chassis.errors import AlreadyExists, RuleViolation
from services.leads.domain.conversion import Holder, RecordKind, customer_to_link

OWN = frozenset({"own-customer", "own-contact"})


def customer(subject_id: str) -> Holder:
    """A customer of that name."""
    return Holder(RecordKind.CUSTOMER, subject_id, "王**")


def contact(subject_id: str) -> Holder:
    """A contact with that number."""
    return Holder(RecordKind.CONTACT, subject_id, "李*")


def test_without_holders_the_customer_is_new() -> None:
    """F124."""
    assert customer_to_link([], OWN) == ""


def test_a_same_name_customer_is_linked() -> None:
    """F123."""
    assert customer_to_link([customer("there"), customer("there")], OWN) == "there"


def test_what_the_conversion_itself_reserved_before_a_crash_is_no_obstacle() -> None:
    assert customer_to_link([customer("own-customer"), contact("own-contact")], OWN) == ""


def test_a_contact_that_is_there_refuses_the_whole() -> None:
    """F127."""
    with pytest.raises(AlreadyExists, match="CONTACT_EXISTS") as refused:
        customer_to_link([customer("there"), contact("there too")], OWN)
    assert refused.value.metadata == {"holder": "李*"}


def test_of_several_customers_none_is_picked_silently() -> None:
    """O5."""
    with pytest.raises(RuleViolation, match="CUSTOMER_AMBIGUOUS") as refused:
        customer_to_link([customer("b"), customer("a")], OWN)
    assert refused.value.metadata["candidates"] == "a,b"
    assert customer_to_link([customer("b"), customer("a")], OWN, "b") == "b"


@pytest.mark.parametrize("holders", [[], [customer("a")], [customer("a"), customer("b")]])
def test_a_chosen_customer_must_be_one_that_matches(holders: list[Holder]) -> None:
    """O5."""
    with pytest.raises(RuleViolation, match="CUSTOMER_NO_CANDIDATE"):
        customer_to_link(holders, OWN, "c")
