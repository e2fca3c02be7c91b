"""What must be accounted for."""

from services.chassis.db import Transaction
from services.chassis.ids import new_id
from services.identity.store.tables import Audit


def record(tx: Transaction, action: str, subject_id: str, service: str = "") -> None:
    """Write an audit row: the transaction's actor did or learned something about a subject."""
    tx.session.add(
        Audit(
            id=new_id(),
            tenant_id=tx.tenant.id,
            create_time=tx.now,
            service=service,
            actor_id=tx.actor_id,
            action=action,
            subject_id=subject_id,
        )
    )
