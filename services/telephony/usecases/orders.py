"""Orders to the PBX: dial by record, pause a recording. Each is done at most once.

An order is queued by a person's request, taken by the edge that follows the PBX, which writes its intent before the
action and the outcome after it. An intent without an outcome is uncertain, and nobody tries again by itself.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BindParameter, ColumnElement, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.chassis.db import Transaction
from services.chassis.errors import RuleViolation, not_found
from services.chassis.tokens import Caller
from services.telephony.store import tables
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases import staff
from services.telephony.usecases.desk import lock_call

# An order that waited longer is not done any more: whoever asked has turned away, and the phone would ring for nothing.
TOO_LATE: Final = timedelta(seconds=10)

# What begins the linked id of a call that we dialled.
DIALLED: Final = "dial-"

TOO_LATE_REASON: Final = "TOO_LATE"


def check_lock(locked_until: datetime | None, owner_id: str, person_id: str, now: datetime) -> None:
    """Raise RuleViolation CUSTOMER_LOCKED for a customer that another has locked."""
    if locked_until is not None and locked_until > now and owner_id != person_id:
        raise RuleViolation(
            "CUSTOMER_LOCKED",
            "该客户已被负责人锁定，不能拨打",
            "The customer's owner has locked it: do not call",
        )


def queue_dial(tx: Transaction, person_id: str, order_id: str, number: str) -> Row:
    """Let the person's own phone ring, then dial a number, E.164; returns the order.

    Raises RuleViolation DO_NOT_CALL, EXTENSION_MISSING for who sits nowhere.
    """
    blocked = tables.do_not_call
    query = select(blocked.c.number).where(blocked.c.tenant_id == tx.tenant.id, blocked.c.number == number)
    if tx.session.execute(query).first() is not None:
        raise RuleViolation("DO_NOT_CALL", "该号码已设为免打扰", "This number is not to be called")
    extension = staff.seat(tx, person_id)
    if not extension:
        raise RuleViolation("EXTENSION_MISSING", "请先签入分机", "Sign on to an extension first")
    line = tables.line
    pbx = tx.session.scalars(
        select(line.c.pbx).where(
            line.c.tenant_id == tx.tenant.id, line.c.kind == staff.EXTENSION, line.c.number == extension
        )
    ).first()
    return _queue(
        tx,
        id=order_id,
        person_id=person_id,
        pbx=pbx or "",
        kind="dial",
        extension=extension,
        linked_id=f"{DIALLED}{order_id}",
        number=number,
    )


def queue_pause(tx: Transaction, viewer: Caller, order_id: str, call_id: str, paused: bool) -> Row:
    """Silence the recording of a live call that the person takes part in, or end the silence; returns the order.

    Raises NotFound CALL_NOT_FOUND, RuleViolation CALL_OVER, NOT_IN_CALL.
    """
    about, leg = lock_call(tx, viewer, call_id), tables.leg
    if about["end_time"] is not None:
        raise RuleViolation("CALL_OVER", "通话已结束", "The call is over")
    part = select(leg.c.uniqueid).where(
        leg.c.tenant_id == tx.tenant.id,
        leg.c.call_id == call_id,
        leg.c.person_id == viewer.person_id,
        leg.c.end_time.is_(None),
    )
    if about["origin_person_id"] != viewer.person_id and tx.session.execute(part.limit(1)).first() is None:
        raise RuleViolation("NOT_IN_CALL", "您不在该通话中", "You are not in this call")
    tx.audit("recording_paused" if paused else "recording_resumed", call_id)
    return _queue(
        tx,
        id=order_id,
        person_id=viewer.person_id,
        pbx=about["pbx"],
        kind="pause" if paused else "resume",
        linked_id=about["linked_id"],
    )


def own_order(tx: Transaction, person_id: str, order_id: str) -> Row:
    """Return a person's own order; raises NotFound PBX_ORDER_NOT_FOUND."""
    order = tables.pbx_order
    found = one(
        tx.session,
        select(order).where(
            order.c.tenant_id == tx.tenant.id, order.c.id == order_id, order.c.person_id == person_id
        ),
    )
    if found is None:
        raise not_found("pbx_order", "话务指令", order_id)
    return found


def set_do_not_call(tx: Transaction, person_id: str, number: str, do_not_call: bool) -> None:
    """Keep a number, E.164, from being dialled by record, or let it be dialled again."""
    blocked = tables.do_not_call
    if do_not_call:
        tx.session.execute(
            insert(blocked)
            .values(tenant_id=tx.tenant.id, number=number, person_id=person_id, time=tx.now)
            .on_conflict_do_nothing()
        )
        return
    tx.session.execute(delete(blocked).where(blocked.c.tenant_id == tx.tenant.id, blocked.c.number == number))


def tenants_with_orders(session: Session, pbx: str, state: str) -> list[str]:
    """Return the ids of the tenants of a database who have orders to a PBX in a state."""
    return list(session.scalars(_TENANTS, {"pbx": pbx, "state": state}))


def take_orders(tx: Transaction, pbx: str, limit: int = 10) -> list[Row]:
    """Take a tenant's queued orders to a PBX: from here on each counts as sent.

    What waited too long fails instead. Commit before the PBX is told anything.
    """
    order = tables.pbx_order
    mine = order.c.tenant_id == tx.tenant.id, _meant_for(pbx)
    due = (
        select(order.c.id)
        .where(*mine, order.c.state == "queued")
        .order_by(order.c.create_time)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(tx.session.scalars(due))
    if not ids:
        return []
    theirs = order.c.tenant_id == tx.tenant.id, order.c.id.in_(ids)
    late = order.c.create_time < tx.now - TOO_LATE
    tx.session.execute(update(order).where(*theirs, late).values(state="failed", reason=TOO_LATE_REASON))
    taken = (
        update(order)
        .where(*theirs, order.c.state == "queued")
        .values(state="sending", send_time=tx.now, pbx=pbx)
        .returning(order)
    )
    return every(tx.session, taken)


def settle_order(tx: Transaction, order_id: str, state: str, reason: str = "") -> None:
    """Note what became of an order that was sent: accepted, failed or uncertain."""
    order = tables.pbx_order
    tx.session.execute(
        update(order)
        .where(order.c.tenant_id == tx.tenant.id, order.c.id == order_id, order.c.state == "sending")
        .values(state=state, reason=reason)
    )


def doubt_orders(tx: Transaction, pbx: str) -> None:
    """Mark what a dead edge of this PBX had sent for a tenant without learning the outcome."""
    order = tables.pbx_order
    mine = order.c.tenant_id == tx.tenant.id, _meant_for(pbx)
    tx.session.execute(update(order).where(*mine, order.c.state == "sending").values(state="uncertain"))


def _queue(tx: Transaction, **values: str) -> Row:
    order = tables.pbx_order
    added = insert(order).values(tenant_id=tx.tenant.id, state="queued", create_time=tx.now, **values)
    return every(tx.session, added.returning(order))[0]


def _meant_for(pbx: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return the condition that an order is a PBX's, by its name or because it is any one's."""
    return tables.pbx_order.c.pbx.in_([pbx, ""])


# Built once: it is asked several times a second. :pbx :state
_TENANTS: Final = (
    select(tables.pbx_order.c.tenant_id)
    .where(_meant_for(bindparam("pbx")), tables.pbx_order.c.state == bindparam("state"))
    .distinct()
)
