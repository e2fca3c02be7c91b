"""Know when customers ordered and had to do with us last, so that their owners hear when it was too long ago (F203)."""

from datetime import datetime

from sqlalchemy import select, true, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.notify.domain.contacts import ReminderPolicy
from services.notify.domain.notices import GAPS_KEPT, next_minute, overdue_time
from services.notify.store.tables import Dealing, Plan, Tenant


def note_owner(tx: Transaction, customer_id: str, name: str, owner_id: str, version: int) -> None:
    """Remind the owner of now; nobody while the customer is in a pool. An older word changes nothing.

    What others intended with the customer is off their lists: it is not theirs any more.
    """
    row = _row(tx, customer_id)
    if version <= row.version:
        return
    row.version = version
    row.name = name or row.name
    if (row.owner_id or "") == owner_id:
        return
    row.owner_id = owner_id or None
    # A new owner begins with a whole gap.
    row.order_base_time = row.silence_base_time = tx.now
    row.order_told = row.silence_told = False
    theirs = Plan.person_id != owner_id if owner_id else true()
    tx.session.execute(
        update(Plan)
        .where(Plan.tenant_id == tx.tenant.id, Plan.customer_id == customer_id, theirs)
        .values(done=True)
    )


def note_order(tx: Transaction, customer_id: str, time: datetime) -> None:
    """Learn that a customer ordered, and how often it usually does; an order that is heard of late changes nothing."""
    row = _row(tx, customer_id)
    _move_on(row, time)
    if row.last_order_time is not None and time <= row.last_order_time:
        return
    if row.last_order_time is not None:
        row.order_gaps_s = [*row.order_gaps_s, (time - row.last_order_time).total_seconds()][-GAPS_KEPT:]
    row.last_order_time = time
    row.order_base_time = max(row.order_base_time, time)
    row.order_told = False
    overdue = overdue_time(time, row.order_gaps_s)
    row.order_overdue_s = (overdue - time).total_seconds() if overdue else None


def note_contact(tx: Transaction, customer_id: str, time: datetime) -> None:
    """Learn that something happened with a customer: it is not silent."""
    _move_on(_row(tx, customer_id), time)


def follow_merge(tx: Transaction, survivor_id: str, merged_id: str) -> None:
    """Let the survivor have what happened with the merged customer."""
    merged = tx.session.get(Dealing, (tx.tenant.id, merged_id))
    if merged is not None:
        if merged.last_order_time is not None:
            note_order(tx, survivor_id, merged.last_order_time)
        note_contact(tx, survivor_id, merged.silence_base_time)


def policy_of(tx: Transaction) -> ReminderPolicy:
    """Return the tenant's rules."""
    row = tx.session.get(Tenant, tx.tenant.id)
    return ReminderPolicy(row.daily_minute, row.order_days, row.silence_days) if row else ReminderPolicy()


def save_policy(tx: Transaction, policy: ReminderPolicy) -> None:
    """Keep the tenant's rules; raises InvalidInput as `ReminderPolicy.check`.

    Customers whose owners were told by the old number of days are told of again by the new one.
    """
    policy.check()
    before = policy_of(tx)
    values = {**vars(policy), "daily_time": next_minute(tx.now, policy.daily_minute)}
    added = insert(Tenant).values(tenant_id=tx.tenant.id, name="", **values)
    tx.session.execute(added.on_conflict_do_update(index_elements=["tenant_id"], set_=values))
    for told, same in (
        ("order_told", before.order_days == policy.order_days),
        ("silence_told", before.silence_days == policy.silence_days),
    ):
        if not same:
            tx.session.execute(update(Dealing).where(Dealing.tenant_id == tx.tenant.id).values({told: False}))


def _move_on(row: Dealing, time: datetime) -> None:
    if time > row.silence_base_time:
        row.silence_base_time = time
        row.silence_told = False


def _row(tx: Transaction, customer_id: str) -> Dealing:
    """Return what is known of a customer, locked; of one that nothing was heard of yet, from now on."""
    tx.session.execute(
        insert(Dealing)
        .values(
            tenant_id=tx.tenant.id,
            customer_id=customer_id,
            name="",
            owner_id=None,
            last_order_time=None,
            order_gaps_s=[],
            order_overdue_s=None,
            order_base_time=tx.now,
            silence_base_time=tx.now,
            order_told=False,
            silence_told=False,
            version=0,
        )
        .on_conflict_do_nothing()
    )
    return tx.session.scalars(
        select(Dealing)
        .where(Dealing.tenant_id == tx.tenant.id, Dealing.customer_id == customer_id)
        .with_for_update()
    ).one()
