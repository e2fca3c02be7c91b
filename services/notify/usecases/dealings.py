"""Know when customers ordered and had to do with us last, so that their owners hear when it was too long ago (F203)."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, bindparam, case, false, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.notify.domain.contacts import ReminderPolicy
from services.notify.domain.notices import GAPS_KEPT, next_minute, overdue_time
from services.notify.store.tables import Dealing, Plan, Tenant

_GIVEN = (
    *("tenant_id", "customer_id", "name", "owner_id", "version"),
    *("order_base_time", "silence_base_time"),
)
_HEARD = insert(Dealing).values(
    {name: bindparam(name, type_=Dealing.__table__.c[name].type) for name in _GIVEN}
    | {"order_gaps_s": literal([], JSONB), "order_told": false(), "silence_told": false()}
)
_KEY = ["tenant_id", "customer_id"]
_HEARD_TIME = bindparam("heard_time", type_=DateTime(timezone=True))
_NOTE_CONTACT = DriverQuery(
    _HEARD.on_conflict_do_update(
        index_elements=_KEY,
        set_={"silence_base_time": _HEARD_TIME, "silence_told": False},
        where=Dealing.silence_base_time < _HEARD_TIME,
    ).returning(Dealing.version)
)
_OTHER_OWNER = Dealing.owner_id.is_distinct_from(_HEARD.excluded.owner_id)
_OWNED = (
    _HEARD.on_conflict_do_update(
        index_elements=_KEY,
        set_={
            "version": _HEARD.excluded.version,
            "name": func.coalesce(func.nullif(_HEARD.excluded.name, ""), Dealing.name),
            "owner_id": _HEARD.excluded.owner_id,
            # A new owner begins with a whole gap.
            **{
                name: case((_OTHER_OWNER, _HEARD.excluded[name]), else_=getattr(Dealing, name))
                for name in ("order_base_time", "silence_base_time", "order_told", "silence_told")
            },
        },
        where=Dealing.version < _HEARD.excluded.version,
    )
    .returning(Dealing.owner_id)
    .cte("owned")
)
# As it was before the statement.
_FORMER_OWNER = (
    select(Dealing.owner_id)
    .where(Dealing.tenant_id == bindparam("tenant_id"), Dealing.customer_id == bindparam("customer_id"))
    .scalar_subquery()
)
_NOTE_OWNER = DriverQuery(
    update(Plan)
    .where(
        Plan.tenant_id == bindparam("tenant_id"),
        Plan.customer_id == bindparam("customer_id"),
        Plan.done.is_(False),
        Plan.person_id.is_distinct_from(_OWNED.c.owner_id),
        _OWNED.c.owner_id.is_distinct_from(_FORMER_OWNER),
    )
    .values(done=True)
    .returning(Plan.plan_id)
)


def note_owner(tx: Transaction, customer_id: str, name: str, owner_id: str, version: int) -> None:
    """Remind the owner of now; nobody while the customer is in a pool. An older word changes nothing.

    What others intended with the customer is off their lists: it is not theirs any more.
    """
    facts = {"name": name, "owner_id": owner_id or None, "version": version, "silence_base_time": tx.now}
    _NOTE_OWNER.rows(tx, _of(tx, customer_id) | facts)


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
    facts = {"name": "", "owner_id": None, "version": 0, "silence_base_time": max(time, tx.now)}
    _NOTE_CONTACT.rows(tx, _of(tx, customer_id) | facts | {"heard_time": time})


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


def _of(tx: Transaction, customer_id: str) -> dict[str, Any]:
    return {"tenant_id": tx.tenant.id, "customer_id": customer_id, "order_base_time": tx.now}


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
