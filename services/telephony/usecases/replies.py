"""Keep what customers and others send: segments joined to messages, opt-outs at once, then whose they are.

A segment is kept and its message joined in one transaction, before the modem deletes it. Who sent it is asked of
customers afterwards, so that a service that is away holds nothing up. Event: `sms_received`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.ids import new_id
from services.chassis.tokens import Caller as Viewer
from services.kernel.phones import match_number
from services.kernel.visibility import sees_all
from services.telephony.domain.sms import PARTS_WAIT, Lane, Reason, SmsState, asks_to_stop
from services.telephony.modem.pdu import Encoding
from services.telephony.modem.port import Incoming
from services.telephony.store import tables
from services.telephony.store.moves import RECEIVED_SMS, adopt
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases.calls import Caller
from services.telephony.usecases.desk import in_scope
from services.telephony.usecases.sms import fail

# How far apart the parts of one message may come; a reference comes again sooner or later.
JOIN_WINDOW: Final = timedelta(hours=24)

# What stands for a part that never came.
GAP: Final = "…"


def note_received(tx: Transaction, modem: str, message: Incoming) -> None:
    """Keep a received segment once, and join its message when it is whole."""
    table = tables.sms_incoming
    added = (
        insert(table)
        .values(
            modem=modem,
            fingerprint=message.fingerprint,
            tenant_id=tx.tenant.id,
            number=message.number,
            text=message.text,
            encoding=message.encoding.value,
            part=message.part,
            parts=message.parts,
            reference=message.reference,
            sent_time=message.sent_time,
            receive_time=tx.now,
        )
        .on_conflict_do_nothing()
        .returning(table.c.modem)
    )
    if tx.session.execute(added).first() is None:
        return
    rows = _waiting_parts(tx, modem, message.number, message.reference, message.parts)
    # Of a part that came twice in different words, the later one belongs to the message at hand.
    newest = {row["part"]: row for row in rows}
    if len(newest) == message.parts:
        _join(tx, list(newest.values()))


def join_incomplete(tx: Transaction) -> None:
    """Show messages whose missing parts have not come for an hour, with gaps."""
    table = tables.sms_incoming
    late = every(
        tx.session,
        select(table.c.modem, table.c.number, table.c.reference, table.c.parts)
        .where(table.c.tenant_id == tx.tenant.id, table.c.received_id.is_(None))
        .group_by(table.c.modem, table.c.number, table.c.reference, table.c.parts)
        .having(func.max(table.c.receive_time) < tx.now - PARTS_WAIT),
    )
    for group in late:
        rows = _waiting_parts(
            tx, group["modem"], group["number"], group["reference"], group["parts"], within=None
        )
        _join(tx, list({row["part"]: row for row in rows}.values()))


def unmatched(tx: Transaction, limit: int) -> list[Row]:
    """Return received messages of which nobody has asked whose they are, oldest first."""
    table = tables.sms_received
    query = select(table).where(table.c.tenant_id == tx.tenant.id, table.c.match_time.is_(None))
    return every(tx.session, query.order_by(table.c.receive_time, table.c.id).limit(limit))


def note_sender(tx: Transaction, received_id: str, callers: Sequence[Caller]) -> None:
    """Note whose a received message is, best first, and tell others of it; a second time nothing happens."""
    table = tables.sms_received
    query = select(table).where(
        table.c.tenant_id == tx.tenant.id, table.c.id == received_id, table.c.match_time.is_(None)
    )
    row = one(tx.session, query.with_for_update())
    if row is None:
        return
    best = callers[0] if callers else None
    matched = {
        "customer_id": (best.customer_id or None) if best else None,
        "customer_name": best.customer_name if best else "",
        "contact_id": (best.contact_id or None) if best else None,
        "contact_name": best.contact_name if best else "",
        "owner_id": (best.owner_id or None) if best else None,
    }
    tx.session.execute(update(table).where(table.c.id == received_id).values(match_time=tx.now, **matched))
    matched["customer_id"] = adopt(tx, RECEIVED_SMS, {"id": received_id, **matched})
    tx.emit(
        "sms_received",
        received_id,
        1,
        {
            "receivedId": received_id,
            "text": row["text"],
            "optOut": row["opt_out"],
            "receiveTime": row["receive_time"].isoformat(),
            "customerId": matched["customer_id"] or "",
            "customerName": matched["customer_name"],
            "contactId": matched["contact_id"] or "",
            "contactName": matched["contact_name"],
            "ownerId": matched["owner_id"] or "",
        },
    )


def list_received(
    tx: Transaction, viewer: Viewer, customer_id: str, before: tuple[datetime, str] | None, limit: int
) -> list[Row]:
    """Return received messages of the customers of whom the viewer sees, newest first; nobody's to who sees all.

    customer_id: only this one's, "" for all. before: receive time and id of the last one before.
    """
    table = tables.sms_received
    query = select(table).where(table.c.tenant_id == tx.tenant.id)
    if not sees_all(viewer):
        query = query.where(in_scope(tx, viewer, table.c.owner_id))
    if customer_id:
        query = query.where(table.c.customer_id == customer_id)
    if before:
        query = query.where(tuple_(table.c.receive_time, table.c.id) < before)
    return every(tx.session, query.order_by(table.c.receive_time.desc(), table.c.id.desc()).limit(limit))


def _waiting_parts(
    tx: Transaction,
    modem: str,
    number: str,
    reference: int,
    parts: int,
    within: timedelta | None = JOIN_WINDOW,
) -> list[Row]:
    """Return the parts of a message that are not joined yet, in the order in which they came; None: of any age."""
    table = tables.sms_incoming
    query = select(table).where(
        table.c.tenant_id == tx.tenant.id,
        table.c.modem == modem,
        table.c.number == number,
        table.c.reference == reference,
        table.c.parts == parts,
        table.c.received_id.is_(None),
    )
    if within is not None:
        query = query.where(table.c.receive_time > tx.now - within)
    return every(tx.session, query.order_by(table.c.receive_time, table.c.part))


def _join(tx: Transaction, rows: list[Row]) -> None:
    first, received_id = rows[0], new_id()
    by_part = {row["part"]: row["text"] for row in rows}
    places = range(1, first["parts"] + 1)
    text = "".join(by_part.get(place, GAP) for place in places)
    stops = first["encoding"] != Encoding.OCTETS.value and asks_to_stop(text)
    number = match_number(first["number"]) or first["number"]
    tx.session.execute(
        insert(tables.sms_received).values(
            id=received_id,
            tenant_id=tx.tenant.id,
            modem=first["modem"],
            number=number,
            text=text,
            parts=first["parts"],
            missing_parts=first["parts"] - len(by_part),
            opt_out=stops,
            receive_time=tx.now,
        )
    )
    table = tables.sms_incoming
    tx.session.execute(
        update(table)
        .where(
            table.c.tenant_id == tx.tenant.id,
            table.c.modem == first["modem"],
            table.c.fingerprint.in_([row["fingerprint"] for row in rows]),
        )
        .values(received_id=received_id)
    )
    if stops:
        _opt_out(tx, number, received_id)


def _opt_out(tx: Transaction, number: str, received_id: str) -> None:
    """Send a number no bulk any more: what waits for it fails now, what comes later before it is sent."""
    sms, segment = tables.sms, tables.sms_segment
    added = insert(tables.sms_opt_out).values(
        tenant_id=tx.tenant.id, number=number, received_id=received_id, time=tx.now
    )
    tx.session.execute(added.on_conflict_do_nothing())
    waiting = (
        select(segment)
        .join(sms, sms.c.id == segment.c.sms_id)
        .where(
            sms.c.tenant_id == tx.tenant.id,
            or_(sms.c.number == number, sms.c.number == f"+{number.lstrip('+')}"),
            sms.c.lane == Lane.BULK.value,
            sms.c.state == SmsState.QUEUED.value,
            segment.c.part == 1,
        )
        .order_by(sms.c.id)
        .with_for_update(of=sms, skip_locked=True)
    )
    for row in every(tx.session, waiting):
        fail(tx, row, Reason.OPTED_OUT, "the receiver opted out")
