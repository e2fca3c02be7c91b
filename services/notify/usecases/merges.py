"""Follow a merge of two customers, and its undo (F36)."""

from sqlalchemy import update

from services.chassis.db import Transaction
from services.notify.store.moves import MOVED
from services.notify.store.tables import Cadence
from services.notify.usecases import dealings


def follow_merge(tx: Transaction, merge_id: str, survivor_id: str, merged_id: str, *, undo: bool) -> None:
    """Give the reminders of the merged customer to the survivor, or give them back; again has no effect.

    Nobody is reminded of the merged one itself any more.
    """
    if MOVED.follow(tx, merge_id, merged_id, survivor_id, undo=undo) and not undo:
        tx.session.execute(
            update(Cadence)
            .where(Cadence.tenant_id == tx.tenant.id, Cadence.customer_id == merged_id)
            .values(due_time=None, overdue_time=None)
        )
        dealings.follow_merge(tx, survivor_id, merged_id)
