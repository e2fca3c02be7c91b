"""What must be accounted for."""

from collections.abc import Mapping

from services.chassis.db import Event, Transaction
from services.chassis.ids import new_id
from services.identity.store.tables import Audit


def record(
    tx: Transaction,
    action: str,
    subject_id: str | None,
    service: str = "identity",
    details: Mapping[str, str] | None = None,
) -> None:
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
            details=dict(details or {}),
        )
    )


def take(tx: Transaction, event: Event) -> None:
    """Keep what another service accounts for, of the time when it happened."""
    data = event.data
    tx.session.add(
        Audit(
            id=event.id,
            tenant_id=event.tenant.id,
            create_time=event.time,
            service=event.source,
            actor_id=event.actor_id,
            action=str(data["action"]),
            subject_id=data["subjectId"] or None,
            details={str(name): str(value) for name, value in data["details"].items()},
        )
    )
