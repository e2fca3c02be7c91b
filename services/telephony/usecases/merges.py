"""Follow a merge of two customers, and its undo (F36)."""

from services.chassis.db import Transaction
from services.telephony.store.moves import MOVED


def follow_merge(tx: Transaction, merge_id: str, survivor_id: str, merged_id: str, *, undo: bool) -> None:
    """Give the rows of the merged customer to the survivor, or give them back; again has no effect."""
    MOVED.follow(tx, merge_id, merged_id, survivor_id, undo=undo)
