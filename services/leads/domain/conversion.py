"""Turning a lead into customer, contact and opportunity: what is linked, what is refused (F120 to F131)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.chassis.errors import AlreadyExists, RuleViolation

# How often a conversion looks again after somebody else took a key between its look and its reservation.
ROUNDS = 3


class ConversionState(StrEnum):
    """Where a conversion is; REQUESTED has not touched its lead yet, DONE and REFUSED are its two ends."""

    REQUESTED = "requested"
    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"


class RecordKind(StrEnum):
    """What kind of record has keys."""

    CUSTOMER = "customer"
    CONTACT = "contact"


@dataclass(frozen=True)
class Holder:
    """A record that holds a key which the conversion needs.

    subject_id: UUID of the record. name: the person behind it, masked already.
    """

    kind: RecordKind
    subject_id: str
    name: str


def customer_to_link(holders: Sequence[Holder], own_ids: frozenset[str], chosen_id: str = "") -> str:
    """Return the id of the customer that a conversion links to; "" for a new one.

    own_ids: what this conversion itself reserved before a crash is no obstacle. chosen_id: which of several the caller
    chose. Raises AlreadyExists CONTACT_EXISTS when the contact is there already (F127), RuleViolation
    CUSTOMER_AMBIGUOUS when several customers match and none was chosen (O5), or CUSTOMER_NO_CANDIDATE when the chosen
    one does not match.
    """
    others = [holder for holder in holders if holder.subject_id not in own_ids]
    contact = next((holder for holder in others if holder.kind is RecordKind.CONTACT), None)
    if contact:
        raise AlreadyExists(
            "CONTACT_EXISTS",
            "联系人已存在（负责人 {holder}），线索未转换",
            "The contact is there already (owner {holder}); nothing was converted",
            holder=contact.name,
        )
    customers = {holder.subject_id: holder for holder in others if holder.kind is RecordKind.CUSTOMER}
    if chosen_id:
        if chosen_id not in customers:
            raise RuleViolation(
                "CUSTOMER_NO_CANDIDATE",
                "所选客户与线索的客户名称不符，线索未转换",
                "The chosen customer does not have this name; nothing was converted",
                customer_id=chosen_id,
            )
        return chosen_id
    if len(customers) > 1:
        ids = sorted(customers)
        raise RuleViolation(
            "CUSTOMER_AMBIGUOUS",
            "有{count}个同名客户，请选择要关联的客户",
            "{count} customers have this name; choose the one to link to",
            count=len(ids),
            candidates=",".join(ids),
            holders=",".join(customers[customer_id].name for customer_id in ids),
        )
    return next(iter(customers), "")
