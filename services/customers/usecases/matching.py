"""Who has this number: one indexed query over the phones of customers and contacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, bindparam, select

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


# Built once: a pop waits for it.
MATCH = (
    select(
        Customer.customer_id,
        Customer.name,
        Customer.owner_id,
        Customer.last_evidence_time,
        Contact.contact_id,
        Contact.name.label("contact_name"),
    )
    .select_from(Phone)
    .join(Customer, and_(Customer.tenant_id == Phone.tenant_id, Customer.customer_id == Phone.customer_id))
    .outerjoin(Contact, and_(Contact.tenant_id == Phone.tenant_id, Contact.contact_id == Phone.contact_id))
    .where(
        Phone.tenant_id == bindparam("tenant_id"),
        Phone.e164 == bindparam("e164"),
        Customer.state == CustomerState.ACTIVE.value,
    )
    .order_by(
        (Customer.owner_id == bindparam("person_id")).desc().nulls_last(),
        Customer.last_evidence_time.desc().nulls_last(),
        Customer.create_time.desc(),
        Customer.customer_id,
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
