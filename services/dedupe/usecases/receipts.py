"""A reservation as evidence: who took which keys, and when (F152)."""

from typing import Any

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.tokens import Caller
from services.dedupe.store.tables import HeldKey, Reservation
from services.kernel.visibility import sees_all


def receipt_of(tx: Transaction, caller: Caller, reservation_id: str) -> dict[str, Any]:
    """Return what a receipt says: times in ISO 8601, digests in hexadecimal.

    For the holder and who sees all; raises NotFound RESERVATION_NOT_FOUND for others too.
    """
    stored = tx.session.get(Reservation, (tx.tenant.id, reservation_id))
    if stored is None or not (sees_all(caller) or stored.holder_id == caller.person_id):
        raise not_found("reservation", "预留", reservation_id)
    keys = tx.session.scalars(
        select(HeldKey)
        .where(HeldKey.tenant_id == tx.tenant.id, HeldKey.reservation_id == reservation_id)
        .order_by(HeldKey.kind, HeldKey.field, HeldKey.digest)
    )
    return {
        "tenantId": tx.tenant.id,
        "reservationId": reservation_id,
        "state": stored.state,
        "holderId": stored.holder_id or "",
        "holderName": stored.holder_name,
        "createTime": stored.create_time.isoformat(),
        "issueTime": tx.now.isoformat(),
        "keys": [
            {"kind": key.kind, "field": key.field, "subjectId": key.subject_id, "digest": key.digest.hex()}
            for key in keys
        ],
    }
