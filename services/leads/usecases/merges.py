"""Follow a merge of two customers, and its undo (F36)."""

from sqlalchemy import select

from services.chassis.db import Transaction
from services.leads.store.moves import MOVED
from services.leads.store.tables import Opportunity


def follow_merge(tx: Transaction, merge_id: str, survivor_id: str, merged_id: str, *, undo: bool) -> None:
    """Give the rows of the merged customer to the survivor, or give them back; again has no effect.

    An opportunity whose name the survivor has too gets a mark behind it while they are together: a customer has no two
    of one name.
    """
    mark = f" #{merge_id[-4:]}"
    if not undo:
        _mark(tx, survivor_id, merged_id, mark)
    if MOVED.follow(tx, merge_id, merged_id, survivor_id, undo=undo) and undo:
        for opportunity in _opportunities(tx, merged_id):
            opportunity.name = opportunity.name.removesuffix(mark)


def _mark(tx: Transaction, survivor_id: str, merged_id: str, mark: str) -> None:
    taken = {opportunity.name for opportunity in _opportunities(tx, survivor_id)}
    for opportunity in _opportunities(tx, merged_id):
        if opportunity.name in taken:
            opportunity.name += mark
    tx.session.flush()


def _opportunities(tx: Transaction, customer_id: str) -> list[Opportunity]:
    return list(
        tx.session.scalars(
            select(Opportunity).where(
                Opportunity.tenant_id == tx.tenant.id, Opportunity.customer_id == customer_id
            )
        )
    )
