"""What became of a key reservation: written together with its rows, or cancelled for good."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import RuleViolation
from services.customers.store.tables import ReservationOutcome

WRITTEN = "written"
CANCELLED = "cancelled"


def settle(tx: Transaction, reservation_id: str) -> bool:
    """Tell whether a reservation's rows exist; if not, they never will: that is recorded here and now.

    A write under way is waited for: its row stands under the same key.
    """
    return _record(tx, reservation_id, CANCELLED) == WRITTEN


def write_under(tx: Transaction, reservation_id: str) -> None:
    """Record that this transaction writes a reservation's rows; raises RuleViolation RESERVATION_CANCELLED."""
    if _record(tx, reservation_id, WRITTEN) != WRITTEN:
        raise RuleViolation(
            "RESERVATION_CANCELLED",
            "该请求已作废，请重新提交",
            "This request was given up; submit it anew",
            reservation_id=reservation_id,
        )


def take_back(tx: Transaction, reservation_id: str) -> None:
    """Record that the rows of a reservation hold their keys no more: its registration was rejected."""
    outcome = tx.session.get(ReservationOutcome, (tx.tenant.id, reservation_id))
    if outcome:
        outcome.outcome = CANCELLED


def is_settled(tx: Transaction, reservation_id: str) -> bool:
    """Tell whether a reservation's outcome stands, so that a repeat has nothing to reserve."""
    return tx.session.get(ReservationOutcome, (tx.tenant.id, reservation_id)) is not None


def _record(tx: Transaction, reservation_id: str, outcome: str) -> str:
    tx.session.execute(
        insert(ReservationOutcome)
        .values(tenant_id=tx.tenant.id, reservation_id=reservation_id, outcome=outcome, create_time=tx.now)
        .on_conflict_do_nothing()
    )
    return tx.session.scalars(
        select(ReservationOutcome.outcome).where(
            ReservationOutcome.tenant_id == tx.tenant.id,
            ReservationOutcome.reservation_id == reservation_id,
        )
    ).one()
