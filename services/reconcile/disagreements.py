"""What two services may come to disagree about, who is right, and what brings the other one after.

Each question is one SELECT over the schemas of a tenant's database: the only place where tables of two services are
read together, and read only (docs/adr/0007). The mending is the wrong service's own use case, in its own transaction,
behind a lock on the row that is right, so that no change comes between the look and the mending; what follows from it
goes out by that service's outbox as ever. Mending twice is as good as once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, text

from services.chassis.db import Transaction
from services.customers.usecases.registrations import pass_registration, reject_registration
from services.dedupe.usecases.matching import note_owner
from services.dedupe.usecases.reservations import confirm, free_subject
from services.identity.store.queries import lock_person
from services.identity.usecases.people import saved
from services.orders.domain.contracts import ContractAction
from services.orders.domain.states import OrderAction
from services.orders.usecases.cashier import decide_payment
from services.orders.usecases.contracts import decide_contract
from services.orders.usecases.orders import WonOpportunity, decide_order, generate_order
from services.telephony.usecases.staff import save_owner

# Rows of one kind that are listed at once; more come with the next run.
MOST: Final = 1000
# What an approval came to, as its subject's service calls it.
OUTCOMES: Final = {"passed": "approve", "rejected": "reject", "withdrawn": "withdraw"}


@dataclass(frozen=True)
class Disagreement:
    """One kind of disagreement.

    means: what it is, for people. service: in whose transaction it is mended. id: column of the record it is about.
    columns: what mending needs beside it. source: FROM ... WHERE ... of what disagrees; the tenant is :tenant. right:
    the table, by its alias, whose row is locked meanwhile. mend: takes the row; None where only a person can decide.
    """

    name: str
    means: str
    service: str
    id: str
    columns: str
    source: str
    right: str = ""
    mend: Callable[[Transaction, Row[Any]], None] | None = None


def find(tx: Transaction, kind: Disagreement) -> Sequence[Row[Any]]:
    """Return what disagrees now, at most MOST."""
    query = f"SELECT {kind.id} AS id, {kind.columns} {kind.source} LIMIT :most"
    return tx.session.execute(text(query), {"tenant": tx.tenant.id, "most": MOST}).all()


def mend(tx: Transaction, kind: Disagreement, record_id: str) -> bool:
    """Mend one record if it still disagrees; tell whether it did. Raises what the use case raises."""
    lock = f"FOR SHARE OF {kind.right}" if kind.right else ""
    query = f"SELECT {kind.id} AS id, {kind.columns} {kind.source} AND {kind.id} = CAST(:only AS uuid) {lock}"
    row = tx.session.execute(text(query), {"tenant": tx.tenant.id, "only": record_id}).first()
    if row is None or kind.mend is None:
        return False
    kind.mend(tx, row)
    return True


def _tell_person(tx: Transaction, row: Row[Any]) -> None:
    saved(tx, [lock_person(tx, str(row.id))])


def _decide(tx: Transaction, row: Row[Any]) -> None:
    outcome = OUTCOMES[row.outcome]
    decider_id, subject_id = str(row.decider_id or ""), str(row.id)
    match row.subject_type:
        case "order":
            decide_order(tx, subject_id, OrderAction(outcome), decider_id=decider_id, comment="")
        case "contract":
            decide_contract(tx, subject_id, ContractAction(outcome), decider_id=decider_id, comment="")
        case _:
            decide_payment(tx, subject_id, passed=row.outcome == "passed")


def _decide_registration(tx: Transaction, row: Row[Any]) -> None:
    if row.outcome == "passed":
        pass_registration(tx, str(row.id), str(row.decider_id or ""))
    else:
        reject_registration(tx, str(row.id))


def _generate(tx: Transaction, row: Row[Any]) -> None:
    generate_order(
        tx,
        WonOpportunity(
            opportunity_id=str(row.id),
            name=row.name,
            customer_id=str(row.customer_id),
            customer_name=row.customer_name,
            owner_id=str(row.owner_id),
            owner_department_path=row.owner_department_path,
            amount=str(row.amount),
        ),
    )


# The last word on a subject; who gave it.
_LAST_WORD: Final = """
    CROSS JOIN LATERAL (
        SELECT approval.id, approval.state FROM approvals.approval
        WHERE approval.tenant_id = subject.tenant_id AND approval.subject_type = {subject_type}
            AND approval.subject_id = subject.{id}
        ORDER BY approval.create_time DESC LIMIT 1
    ) word
    LEFT JOIN LATERAL (
        SELECT decision.decider_id FROM approvals.decision
        WHERE decision.approval_id = word.id ORDER BY decision.create_time DESC LIMIT 1
    ) decision ON true
    WHERE subject.tenant_id = :tenant AND word.state IN ('passed', 'rejected', 'withdrawn')
"""
_PAPERS: Final = tuple(
    Disagreement(
        f"{kind}-undecided",
        f"审批已有结论而{word}仍在等待 / its approval was decided, and the {kind} still waits",
        "orders",
        "subject.id",
        f"'{kind}' AS subject_type, word.state AS outcome, decision.decider_id",
        f'FROM orders."{table}" subject {_LAST_WORD.format(subject_type=repr(kind), id="id")}'
        f" AND subject.state = 'submitted'",
        mend=_decide,
    )
    for kind, table, word in (
        ("order", "order", "订单"),
        ("contract", "contract", "合同"),
        ("payment", "voucher", "付款"),
    )
)
# A copy of the staff is behind identity's own.
_BEHIND: Final = """
    NOT EXISTS (
        SELECT FROM {table} copy WHERE copy.tenant_id = person.tenant_id AND copy.{id} = person.id
            AND copy.version >= person.version
    )
"""
_COPIES: Final = (
    ("customers.staff", "person_id"),
    ("orders.staff", "person_id"),
    ("dedupe.staff", "person_id"),
    ("telephony.person", "id"),
    ("notify.person", "id"),
)

DISAGREEMENTS: Final = (
    Disagreement(
        "person-unknown",
        "有服务不知道该员工的现状 / a service does not know this person as identity does",
        "identity",
        "person.id",
        "person.version",
        "FROM identity.person WHERE person.tenant_id = :tenant AND ("
        + " OR ".join(_BEHIND.format(table=table, id=key) for table, key in _COPIES)
        + ")",
        mend=_tell_person,
    ),
    Disagreement(
        "owner-of-calls",
        "通话记录按旧负责人显示 / calls are shown to somebody who does not own the customer",
        "telephony",
        "customer.customer_id",
        "customer.owner_id, customer.version",
        """
        FROM customers.customer
        LEFT JOIN telephony.customer_owner copy
            ON copy.tenant_id = customer.tenant_id AND copy.customer_id = customer.customer_id
        WHERE customer.tenant_id = :tenant AND customer.state = 'active'
            AND copy.owner_id IS DISTINCT FROM customer.owner_id
            AND (copy.version IS NULL OR copy.version < customer.version)
        """,
        "customer",
        lambda tx, row: save_owner(tx, str(row.id), str(row.owner_id or ""), row.version),
    ),
    Disagreement(
        "owner-of-matches",
        "查重按旧负责人脱敏 / a duplicate check masks by an owner of before",
        "dedupe",
        "customer.customer_id",
        "customer.owner_id, customer.version",
        """
        FROM customers.customer
        WHERE customer.tenant_id = :tenant AND customer.state = 'active' AND EXISTS (
            SELECT FROM dedupe.match_record
            WHERE match_record.tenant_id = customer.tenant_id
                AND match_record.customer_id = customer.customer_id
                AND match_record.owner_id IS DISTINCT FROM customer.owner_id
        )
        """,
        "customer",
        lambda tx, row: note_owner(tx, str(row.id), str(row.owner_id or ""), row.version),
    ),
    Disagreement(
        "key-of-nobody",
        "查重键的主人不存在 / a key is held by a record that is not there",
        "dedupe",
        "held.subject_id",
        "held.field",
        """
        FROM dedupe.held_key held
        JOIN dedupe.reservation
            ON reservation.tenant_id = held.tenant_id AND reservation.reservation_id = held.reservation_id
        WHERE held.tenant_id = :tenant AND reservation.state = 'confirmed'
            AND NOT EXISTS (
                SELECT FROM customers.customer WHERE customer.tenant_id = held.tenant_id
                    AND customer.customer_id = held.subject_id AND customer.state <> 'rejected'
            )
            AND NOT EXISTS (
                SELECT FROM customers.contact
                WHERE contact.tenant_id = held.tenant_id AND contact.contact_id = held.subject_id
            )
        """,
        mend=lambda tx, row: free_subject(tx, str(row.id)),
    ),
    Disagreement(
        "reservation-unconfirmed",
        "客户已写入而查重预留未确认 / the customer is written, its reservation was never confirmed",
        "dedupe",
        "reservation.reservation_id",
        "customer.customer_id",
        """
        FROM dedupe.reservation
        JOIN customers.customer ON customer.tenant_id = reservation.tenant_id
            AND customer.reservation_id = reservation.reservation_id
        WHERE reservation.tenant_id = :tenant AND reservation.state = 'reserved' AND customer.state = 'active'
            AND reservation.settle_time < now()
        """,
        "customer",
        lambda tx, row: confirm(tx, str(row.id)),
    ),
    Disagreement(
        "customer-without-match",
        "查重不认识该客户，请打开并保存一次 / duplicate checks do not know it: open and save it",
        "dedupe",
        "customer.customer_id",
        "customer.version",
        """
        FROM customers.customer
        WHERE customer.tenant_id = :tenant AND customer.state = 'active' AND NOT EXISTS (
            SELECT FROM dedupe.match_record WHERE match_record.tenant_id = customer.tenant_id
                AND match_record.subject_id = customer.customer_id
        )
        """,
    ),
    Disagreement(
        "registration-undecided",
        "审批已有结论而报备仍在等待 / its approval was decided, and the registration still waits",
        "customers",
        "subject.customer_id",
        "word.state AS outcome, decision.decider_id",
        "FROM customers.customer subject"
        + _LAST_WORD.format(subject_type="'registration'", id="customer_id")
        + " AND subject.state = 'pending'",
        mend=_decide_registration,
    ),
    Disagreement(
        "registration-unasked",
        "报备没有审批，请撤回重提 / nobody was asked about this registration: submit it anew",
        "customers",
        "subject.customer_id",
        "subject.version",
        """
        FROM customers.customer subject
        WHERE subject.tenant_id = :tenant AND subject.state = 'pending' AND NOT EXISTS (
            SELECT FROM approvals.approval WHERE approval.tenant_id = subject.tenant_id
                AND approval.subject_type = 'registration' AND approval.subject_id = subject.customer_id
        )
        """,
    ),
    *_PAPERS,
    Disagreement(
        "won-without-order",
        "商机已赢单而没有订单 / the opportunity was won, and there is no order of it",
        "orders",
        "opportunity.id",
        "opportunity.name, opportunity.customer_id, opportunity.customer_name, opportunity.owner_id,"
        " opportunity.owner_department_path, opportunity.amount",
        """
        FROM leads.opportunity
        WHERE opportunity.tenant_id = :tenant AND opportunity.state = 'won' AND NOT EXISTS (
            SELECT FROM orders."order" made
            WHERE made.tenant_id = opportunity.tenant_id AND made.opportunity_id = opportunity.id
        )
        """,
        "opportunity",
        _generate,
    ),
    Disagreement(
        "converted-to-nothing",
        "线索已转换而客户不存在 / the lead was converted to a customer that is not there",
        "leads",
        "lead.id",
        "lead.customer_id",
        """
        FROM leads.lead
        WHERE lead.tenant_id = :tenant AND lead.state = 'converted' AND lead.customer_id IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM customers.customer
                WHERE customer.tenant_id = lead.tenant_id AND customer.customer_id = lead.customer_id
            )
        """,
    ),
)
