"""Tell others that keys were refused, so that both sides hear of each other (F170). Event: `keys_refused`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.ids import derive_id
from services.dedupe.store.queries import Held
from services.dedupe.store.tables import Reservation
from services.kernel.masking import mask_name

# Who tries again and again tells the holder once in this time.
TOLD_EVERY: Final = timedelta(hours=1)


def report_refusal(
    tx: Transaction, reservation_id: str, name: str, held: Sequence[Held], person_id: str, person_name: str
) -> None:
    """Tell of a reservation that was refused: once an hour for each pair; never of one's own keys.

    name: what was to be registered. held: who holds its keys. person_id, person_name: who wanted them. Both people's
    names travel masked.
    """
    if not held or not person_id:
        return
    holders = dict(
        tx.session.execute(
            select(Reservation.reservation_id, Reservation.holder_id).where(
                Reservation.tenant_id == tx.tenant.id,
                Reservation.reservation_id.in_({each.reservation_id for each in held}),
            )
        ).all()
    )
    period = int(tx.now.timestamp() // TOLD_EVERY.total_seconds())
    for each in {each.reservation_id: each for each in held}.values():
        holder_id = holders.get(each.reservation_id)
        if not holder_id or holder_id == person_id:
            continue
        told = derive_id("refusal", person_id, each.reservation_id, str(period))
        if tx.first_time("keys_refused", told):
            tx.emit(
                "keys_refused",
                told,
                1,
                {
                    "reservationId": reservation_id,
                    "name": name,
                    "submitterId": person_id,
                    "submitterName": mask_name(person_name),
                    "holderId": holder_id,
                    "holderName": each.holder_name,
                },
            )
