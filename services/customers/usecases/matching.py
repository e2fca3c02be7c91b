"""Who has this number: one indexed query over the phones of customers and contacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, select, true

from services.chassis.db import Transaction
from services.customers.domain.customers import CustomerState
from services.customers.store.tables import Contact, Customer, Phone

# Candidates in an answer.
MOST_CANDIDATES = 10
# Evidence younger than this makes a candidate "recent".
RECENT = timedelta(days=30)


@dataclass(frozen=True)
class Candidate:
    """One who may be calling. reasons: why it stands where it stands."""

    customer_id: str
    customer_name: str
    contact_id: str
    contact_name: str
    owner_id: str
    reasons: Sequence[str]


# By the number first, and for each that has it its customer and contact, one by one: of a tenant that came since
# statistics were made the planner knows no rows, and would join all its customers to find whose number it is.
_CUSTOMER = (
    select(
        Customer.customer_id,
        Customer.name,
        Customer.owner_id,
        Customer.last_evidence_time,
        Customer.create_time,
        Customer.state,
    )
    .where(Customer.tenant_id == Phone.tenant_id, Customer.customer_id == Phone.customer_id)
    .limit(1)
    .correlate(Phone)
    .lateral("found_customer")
)
_CONTACT = (
    select(Contact.contact_id, Contact.name.label("contact_name"))
    .where(Contact.tenant_id == Phone.tenant_id, Contact.contact_id == Phone.contact_id)
    .limit(1)
    .correlate(Phone)
    .lateral("found_contact")
)
# Built once: a pop waits for it.
MATCH = (
    select(
        _CUSTOMER.c.customer_id,
        _CUSTOMER.c.name,
        _CUSTOMER.c.owner_id,
        _CUSTOMER.c.last_evidence_time,
        *_CONTACT.c,
    )
    .select_from(Phone)
    .join(_CUSTOMER, true())
    .outerjoin(_CONTACT, true())
    .where(
        Phone.tenant_id == bindparam("tenant_id"),
        Phone.e164 == bindparam("e164"),
        _CUSTOMER.c.state == CustomerState.ACTIVE.value,
    )
    .order_by(
        (_CUSTOMER.c.owner_id == bindparam("person_id")).desc().nulls_last(),
        _CUSTOMER.c.last_evidence_time.desc().nulls_last(),
        _CUSTOMER.c.create_time.desc(),
        _CUSTOMER.c.customer_id,
        Phone.phone_id,
    )
    .limit(MOST_CANDIDATES)
)


def match_phone(tx: Transaction, e164: str, person_id: str) -> list[Candidate]:
    """Return who has this number, at most 10: the rung person's own customers first, then by last evidence (F3).

    person_id: "" where nobody in particular is rung. Customers in pools are found too; registrations that wait or were
    rejected are not.
    """
    rows = tx.session.execute(
        MATCH, {"tenant_id": tx.tenant.id, "e164": e164, "person_id": person_id or None}
    )
    candidates = []
    for row in rows:
        reasons = ["exact_number"]
        if person_id and row.owner_id == person_id:
            reasons.append("own_customer")
        if row.last_evidence_time and tx.now - row.last_evidence_time < RECENT:
            reasons.append("recent")
        candidates.append(
            Candidate(
                row.customer_id,
                row.name,
                row.contact_id or "",
                row.contact_name or "",
                row.owner_id or "",
                reasons,
            )
        )
    return candidates
