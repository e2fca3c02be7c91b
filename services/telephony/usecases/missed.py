"""Who called and was not answered: one item for each caller, until somebody reaches that caller or lays it aside.

An item is worked out anew from the calls whenever one of its number ends, so the order in which the ends are told
does not matter, and a repeat changes nothing.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, bindparam, func, or_, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import RuleViolation, not_found
from services.chassis.ids import derive_id
from services.chassis.tokens import Caller
from services.kernel.phones import match_number
from services.kernel.visibility import sees_all
from services.telephony.store import tables
from services.telephony.store.calls import CALL_COLUMNS
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases.desk import OWNER, in_scope, sees_call

# Older calls are nobody's to call back.
REMEMBERED: Final = timedelta(days=30)
# What each end of a call asks: made once. :tenant :id
_CALL: Final = select(*CALL_COLUMNS).where(
    tables.call.c.tenant_id == bindparam("tenant"), tables.call.c.id == bindparam("id")
)
_LOCK_ITEM: Final = (
    select(tables.missed_caller)
    .where(
        tables.missed_caller.c.tenant_id == bindparam("tenant"), tables.missed_caller.c.id == bindparam("id")
    )
    .with_for_update()
)


def take_ended_call(tx: Transaction, call_id: str) -> None:
    """Bring the item of a call's number in line with the calls; internal ones have none."""
    item = tables.missed_caller
    about = one(tx.session, _CALL, tenant=tx.tenant.id, id=call_id)
    if about is None or about["direction"] == "internal" or about["end_time"] is None:
        return
    item_id = missed_caller_id(tx, about)
    mine = {"tenant": tx.tenant.id, "id": item_id}
    known = one(tx.session, _LOCK_ITEM, **mine)
    if known is None and about["state"] == "missed":
        # Of two that begin the item at once, the second one waits here and then counts both calls.
        values = {
            "number": about["number"],
            "call_count": 0,
            "first_time": about["start_time"],
            "last_time": about["start_time"],
            "last_call_id": call_id,
        }
        tx.session.execute(
            insert(item).values(id=item_id, tenant_id=tx.tenant.id, **values).on_conflict_do_nothing()
        )
        known = one(tx.session, _LOCK_ITEM, **mine)
    if known is not None:
        _count(tx, known, about)


def missed_caller_id(tx: Transaction, call: Row) -> str:
    """Return the id of the item of a call's number; nobody can tell whether two hidden ones are the same."""
    return derive_id("missed_caller", tx.tenant.id, call["number"] or call["id"])


def list_missed(
    tx: Transaction, viewer: Caller, before: tuple[datetime, str] | None, limit: int
) -> list[tuple[Row, Row]]:
    """Return the open items, each with its last call, the latest first: those of calls that the viewer sees.

    An unknown caller's are everybody's who may handle them. before: last time and id of the page before.
    """
    call, item = tables.call, tables.missed_caller
    query = (
        select(item.c.id)
        .join(call, call.c.id == item.c.last_call_id)
        .where(item.c.tenant_id == tx.tenant.id, item.c.call_count > 0, _handles(tx, viewer))
        .order_by(item.c.last_time.desc(), item.c.id.desc())
        .limit(limit)
    )
    if before:
        query = query.where(tuple_(item.c.last_time, item.c.id) < before)
    ids = list(tx.session.scalars(query))
    items = every(tx.session, select(item).where(item.c.tenant_id == tx.tenant.id, item.c.id.in_(ids)))
    calls = every(
        tx.session,
        select(call, OWNER).where(
            call.c.tenant_id == tx.tenant.id, call.c.id.in_([row["last_call_id"] for row in items])
        ),
    )
    by_id, by_call = {row["id"]: row for row in items}, {row["id"]: row for row in calls}
    return [(by_id[found], by_call[by_id[found]["last_call_id"]]) for found in ids]


def handle_missed(tx: Transaction, viewer: Caller, missed_caller_id: str) -> None:
    """Lay an item aside; calls from now on open it again. Raises NotFound MISSED_CALLER_NOT_FOUND."""
    call, item = tables.call, tables.missed_caller
    seen = select(item.c.last_call_id).where(item.c.tenant_id == tx.tenant.id, item.c.id == missed_caller_id)
    found = tx.session.scalar(
        select(call.c.id).where(call.c.tenant_id == tx.tenant.id, call.c.id.in_(seen), _handles(tx, viewer))
    )
    if found is None:
        raise not_found("missed_caller", "未接来电", missed_caller_id)
    tx.session.execute(
        update(item)
        .where(item.c.tenant_id == tx.tenant.id, item.c.id == missed_caller_id)
        .values(call_count=0, handle_time=tx.now, handled_by_id=viewer.person_id)
    )


def open_call(tx: Transaction, viewer: Caller, missed_caller_id: str) -> Row | None:
    """Return the last call of an open item that the viewer may handle; None when it is none, or closed."""
    call, item = tables.call, tables.missed_caller
    last = select(item.c.last_call_id).where(
        item.c.tenant_id == tx.tenant.id, item.c.id == missed_caller_id, item.c.call_count > 0
    )
    return one(
        tx.session,
        select(call).where(call.c.tenant_id == tx.tenant.id, call.c.id.in_(last), _handles(tx, viewer)),
    )


def number_to_call(tx: Transaction, viewer: Caller, missed_caller_id: str) -> str:
    """Return the number of an open item, E.164.

    Raises NotFound MISSED_CALLER_NOT_FOUND, RuleViolation NUMBER_HIDDEN where the caller showed none.
    """
    found = open_call(tx, viewer, missed_caller_id)
    if found is None:
        raise not_found("missed_caller", "未接来电", missed_caller_id)
    number = match_number(found["number"])
    if not number:
        raise RuleViolation("NUMBER_HIDDEN", "来电没有显示号码，不能回拨", "The caller showed no number")
    return number


def _handles(tx: Transaction, viewer: Caller) -> ColumnElement[bool]:
    if sees_all(viewer):
        return true()
    nobodys = tables.call.c.customer_id.is_(None)
    return or_(nobodys, sees_call(tx, viewer), in_scope(tx, viewer, OWNER))


def _count(tx: Transaction, known: Row, about: Row) -> None:
    """Count the missed calls since the caller was reached last, or laid aside."""
    call, item = tables.call, tables.missed_caller
    same = [
        call.c.tenant_id == tx.tenant.id,
        call.c.start_time > tx.now - REMEMBERED,
        call.c.direction != "internal",
    ]
    same.append(call.c.number == about["number"] if about["number"] else call.c.id == about["id"])
    reached = tx.session.scalar(select(func.max(call.c.answer_time)).where(*same))
    dealt_with = max(filter(None, (reached, known["handle_time"])), default=None)
    missed = [*same, call.c.state == "missed"]
    if dealt_with:
        missed.append(call.c.start_time > dealt_with)
    counted = tx.session.execute(
        select(func.count(), func.min(call.c.start_time), func.max(call.c.start_time)).where(*missed)
    ).one()
    values: dict[str, object] = {"call_count": counted[0]}
    if counted[0]:
        last = tx.session.scalars(
            select(call.c.id).where(*missed).order_by(call.c.start_time.desc(), call.c.id.desc()).limit(1)
        ).one()
        values |= {"first_time": counted[1], "last_time": counted[2], "last_call_id": last}
    tx.session.execute(
        update(item).where(item.c.tenant_id == tx.tenant.id, item.c.id == known["id"]).values(values)
    )
