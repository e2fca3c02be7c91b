"""Keep messages: queue them, hand their segments to a modem, note what became of each.

A segment goes to the network at most once by itself: the intent is committed before it is sent, and from
then on only an outcome moves it. A message's state follows from its segments; each change of it is an
event: `sms_sent`, `sms_delivered`, `sms_failed`, `sms_uncertain`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.ids import derive_id
from services.telephony.domain.sms import (
    LIMITED_ATTEMPTS,
    LONGEST_TEXT,
    REPORT_WINDOW,
    REPORTED_FOR,
    VALIDITY,
    SegmentState,
    SmsState,
    fate,
    retry_time,
    same_number,
)
from services.telephony.modem.pdu import Encoding, PduError, split
from services.telephony.modem.port import (
    Failure,
    Fate,
    Incoming,
    LinkState,
    Outgoing,
    Report,
    StaleSegmentError,
)
from services.telephony.store import tables
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases.desk import Viewer, in_scope

# What NOTIFY says when a message waits for a modem.
CHANNEL: Final = "telephony_sms"

_EVENTS: Final = {
    SmsState.SENT: "sms_sent",
    SmsState.DELIVERED: "sms_delivered",
    SmsState.FAILED: "sms_failed",
    SmsState.UNCERTAIN: "sms_uncertain",
}


def queue_sms(tx: Transaction, sms_id: str, person_id: str, number: str, text: str) -> Row:
    """Queue a message to a number in E.164 and return it.

    Raises InvalidInput TEXT_LENGTH outside 1 to 500 characters, TEXT_INVALID for what no alphabet has.
    """
    if not 1 <= len(text) <= LONGEST_TEXT:
        raise InvalidInput(
            "text",
            "TEXT_LENGTH",
            "短信内容应为1到{longest}字",
            "A text has 1 to {longest} characters",
            longest=LONGEST_TEXT,
        )
    try:
        cut = split(text)
    except PduError as error:
        raise InvalidInput(
            "text",
            "TEXT_INVALID",
            "短信内容含有无法发送的字符",
            "The text has characters that cannot be sent",
        ) from error
    sms = tables.sms
    last = tx.session.scalars(
        select(sms.c.concat_reference)
        .where(sms.c.tenant_id == tx.tenant.id, sms.c.number == number)
        .order_by(sms.c.create_time.desc())
        .limit(1)
    ).first()
    row = {
        "id": sms_id,
        "tenant_id": tx.tenant.id,
        "person_id": person_id,
        "number": number,
        "text": text,
        "encoding": cut.encoding.value,
        "state": SmsState.QUEUED.value,
        "segment_count": len(cut.parts),
        # Two long messages to one handset must not be joined into one.
        "concat_reference": 0 if last is None else (last + 1) % 256,
        "create_time": tx.now,
        "expire_time": tx.now + VALIDITY,
        "version": 1,
    }
    tx.session.execute(insert(sms).values(row))
    tx.session.execute(
        insert(tables.sms_segment).values(
            [
                {
                    "id": derive_id("segment", sms_id, str(part)),
                    "tenant_id": tx.tenant.id,
                    "sms_id": sms_id,
                    "part": part,
                    "text": share,
                    "state": SegmentState.QUEUED.value,
                    "next_attempt_time": tx.now,
                }
                for part, share in enumerate(cut.parts, 1)
            ]
        )
    )
    tx.session.execute(select(func.pg_notify(CHANNEL, "")))
    return {**row, "modem": "", "detail": "", "send_time": None, "deliver_time": None}


def find_sms(tx: Transaction, sms_id: str) -> Row | None:
    """Return a message, or None."""
    sms = tables.sms
    return one(tx.session, select(sms).where(sms.c.tenant_id == tx.tenant.id, sms.c.id == sms_id))


def list_sms(tx: Transaction, viewer: Viewer, before: tuple[datetime, str] | None, limit: int) -> list[Row]:
    """Return the messages to whom the viewer sees, newest first.

    before: create time and id of the last one before.
    """
    sms = tables.sms
    query = select(sms).where(sms.c.tenant_id == tx.tenant.id)
    if viewer.scope != "all":
        query = query.where(in_scope(tx, viewer, sms.c.person_id))
    if before:
        query = query.where(tuple_(sms.c.create_time, sms.c.id) < before)
    return every(tx.session, query.order_by(sms.c.create_time.desc(), sms.c.id.desc()).limit(limit))


def recover(tx: Transaction, modem: str) -> None:
    """Settle what an earlier connection of this modem left behind.

    Segments with an intent and no outcome become uncertain; claimed ones go back to the queue.
    """
    segment = tables.sms_segment
    query = (
        select(segment)
        .where(
            segment.c.tenant_id == tx.tenant.id,
            segment.c.modem == modem,
            segment.c.state.in_([SegmentState.CLAIMED, SegmentState.SENDING]),
        )
        .order_by(segment.c.sms_id, segment.c.part)
    )
    for row in every(tx.session, query):
        if row["state"] == SegmentState.CLAIMED:
            _give_back(tx, row)
        else:
            _move(tx, row, state=SegmentState.UNCERTAIN, detail="the process ended while it was sent")


def sent_ages(tx: Transaction, modem: str, window_s: int) -> list[float]:
    """Return the age in seconds of each segment that this modem's SIM sent within the window."""
    segment = tables.sms_segment
    age = func.extract("epoch", tx.now - func.coalesce(segment.c.send_time, segment.c.intent_time))
    query = select(age).where(
        segment.c.tenant_id == tx.tenant.id,
        segment.c.modem == modem,
        # An uncertain one may have gone out: it counts.
        segment.c.state.in_([SegmentState.SENT, SegmentState.DELIVERED, SegmentState.UNCERTAIN]),
    )
    return [float(seconds) for seconds in tx.session.scalars(query.where(age <= window_s))]


def next_segment(tx: Transaction, modem: str) -> Outgoing | None:
    """Claim the next due segment for a modem, oldest message first, its parts in order; None if there is
    none.

    A message that is no longer worth sending fails instead.
    """
    sms, segment = tables.sms, tables.sms_segment
    query = (
        select(segment)
        .join(sms, sms.c.id == segment.c.sms_id)
        .where(
            segment.c.tenant_id == tx.tenant.id,
            segment.c.state == SegmentState.QUEUED,
            segment.c.next_attempt_time <= tx.now,
            or_(sms.c.modem == "", sms.c.modem == modem),
        )
        .order_by(sms.c.create_time, segment.c.sms_id, segment.c.part)
        .limit(1)
        .with_for_update(of=sms, skip_locked=True)
    )
    while (row := one(tx.session, query)) is not None:
        message = _message(tx, row)
        if message["expire_time"] <= tx.now:
            _move(tx, row, state=SegmentState.FAILED, detail="expired")
            continue
        tx.session.execute(update(sms).where(sms.c.id == row["sms_id"]).values(modem=modem))
        _move(tx, row, state=SegmentState.CLAIMED, modem=modem)
        return Outgoing(
            id=row["id"],
            number=message["number"],
            text=row["text"],
            encoding=Encoding(message["encoding"]),
            part=row["part"],
            parts=message["segment_count"],
            reference=message["concat_reference"],
            validity_s=max(300, int((message["expire_time"] - tx.now).total_seconds())),
        )
    return None


def begin_sending(tx: Transaction, segment_id: str, modem: str) -> None:
    """Write the intent to send; raises StaleSegmentError when the segment is not this modem's any more."""
    row = _claimed(tx, segment_id, modem, SegmentState.CLAIMED)
    _move(tx, row, state=SegmentState.SENDING, intent_time=tx.now, attempts=row["attempts"] + 1)


def note_sent(tx: Transaction, segment_id: str, modem: str, reference: int | None) -> None:
    """Note that the network took a segment."""
    row = _claimed(tx, segment_id, modem, SegmentState.SENDING)
    _move(tx, row, state=SegmentState.SENT, send_time=tx.now, reference=reference, detail="")


def note_failed(tx: Transaction, segment_id: str, modem: str, failure: Failure, error: str) -> None:
    """Note a definite refusal: again later, or never."""
    row = _claimed(tx, segment_id, modem, SegmentState.CLAIMED, SegmentState.SENDING)
    # Refused before the intent was written: an attempt all the same.
    attempts = row["attempts"] + (row["state"] == SegmentState.CLAIMED)
    message = _message(tx, row)
    if failure is Failure.SIM:
        _give_back(tx, row, attempts=attempts - 1, detail=error)
        return
    next_time = retry_time(attempts, tx.now)
    used_up = failure is Failure.LIMITED and attempts >= LIMITED_ATTEMPTS
    if failure is Failure.MESSAGE or used_up or next_time >= message["expire_time"]:
        _move(tx, row, state=SegmentState.FAILED, detail=error)
    else:
        _move(
            tx, row, state=SegmentState.QUEUED, attempts=attempts, next_attempt_time=next_time, detail=error
        )


def note_uncertain(tx: Transaction, segment_id: str, modem: str, error: str) -> None:
    """Note that nobody knows whether a segment went out."""
    row = _claimed(tx, segment_id, modem, SegmentState.SENDING)
    _move(tx, row, state=SegmentState.UNCERTAIN, detail=error)


def note_report(tx: Transaction, modem: str, report: Report) -> None:
    """Keep a delivery report once, and settle the segment it is about, if it can be found."""
    table = tables.sms_report
    added = (
        insert(table)
        .values(
            modem=modem,
            fingerprint=report.fingerprint,
            tenant_id=tx.tenant.id,
            reference=report.reference,
            number=report.number,
            status=report.status,
            fate=report.fate.value,
            sent_time=report.sent_time,
            done_time=report.done_time,
            receive_time=tx.now,
        )
        .on_conflict_do_nothing()
    )
    if tx.session.execute(added.returning(table.c.modem)).first() is None:
        return
    row = _reported(tx, modem, report)
    if row is None:
        return
    tx.session.execute(
        update(table)
        .where(table.c.modem == modem, table.c.fingerprint == report.fingerprint)
        .values(segment_id=row["id"])
    )
    if report.fate is Fate.DELIVERED:
        _move(
            tx,
            row,
            state=SegmentState.DELIVERED,
            deliver_time=report.done_time or tx.now,
            send_time=row["send_time"] or report.sent_time or tx.now,
        )
    elif report.fate is Fate.FAILED:
        _move(tx, row, state=SegmentState.FAILED, detail=f"not delivered, status {report.status:#04x}")
    elif row["state"] == SegmentState.UNCERTAIN:
        # Whatever it says: the network has it.
        _move(tx, row, state=SegmentState.SENT, send_time=report.sent_time or tx.now)


def note_received(tx: Transaction, modem: str, message: Incoming) -> None:
    """Keep a received segment once."""
    tx.session.execute(
        insert(tables.sms_incoming)
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
    )


def note_modem(tx: Transaction, name: str, state: LinkState, detail: str) -> None:
    """Note where a modem stands."""
    modem = tables.modem
    tx.session.execute(
        update(modem)
        .where(modem.c.name == name, modem.c.tenant_id == tx.tenant.id)
        .values(state=state.value, detail=detail, state_time=tx.now)
    )


def sms_facts(row: Row) -> dict[str, Any]:
    """Return what other services learn of a message."""
    return {
        "smsId": row["id"],
        "personId": row["person_id"],
        "state": row["state"],
        "detail": row["detail"],
        "sendTime": row["send_time"].isoformat() if row["send_time"] else "",
        "deliverTime": row["deliver_time"].isoformat() if row["deliver_time"] else "",
    }


def _message(tx: Transaction, segment: Row) -> Row:
    """Lock and return the message of a segment: whoever changes a segment holds its message."""
    sms = tables.sms
    row = one(tx.session, select(sms).where(sms.c.id == segment["sms_id"]).with_for_update())
    if row is None:
        raise RuntimeError(f"no message of segment {segment['id']}")
    return row


def _claimed(tx: Transaction, segment_id: str, modem: str, *states: SegmentState) -> Row:
    segment = tables.sms_segment
    query = select(segment).where(segment.c.tenant_id == tx.tenant.id, segment.c.id == segment_id)
    row = one(tx.session, query)
    if row is not None:
        # Read again under the lock: of two processes that believe to have the segment, one is right.
        _message(tx, row)
        row = one(tx.session, query)
    if row is None or row["modem"] != modem or row["state"] not in states:
        raise StaleSegmentError(f"segment {segment_id} is not with modem {modem} any more")
    return row


def _give_back(tx: Transaction, row: Row, **values: Any) -> None:
    """Put a segment back for any modem, or for this one when the rest of its message left by it."""
    sms, segment = tables.sms, tables.sms_segment
    _message(tx, row)
    others = select(segment.c.id).where(
        segment.c.sms_id == row["sms_id"],
        segment.c.id != row["id"],
        segment.c.state != SegmentState.QUEUED,
    )
    if tx.session.execute(others.limit(1)).first() is None:
        tx.session.execute(update(sms).where(sms.c.id == row["sms_id"]).values(modem=""))
    _move(tx, row, state=SegmentState.QUEUED, modem="", **values)


def _reported(tx: Transaction, modem: str, report: Report) -> Row | None:
    """Find a report's segment by reference, number and nearest time; an uncertain one by number and time.

    Both belong to one modem, whose thread is the only one to change them now.
    """
    sms, segment = tables.sms, tables.sms_segment
    query = (
        select(segment, sms.c.number)
        .join(sms, sms.c.id == segment.c.sms_id)
        .where(
            segment.c.tenant_id == tx.tenant.id,
            segment.c.modem == modem,
            or_(
                (segment.c.state == SegmentState.SENT) & (segment.c.reference == report.reference),
                segment.c.state == SegmentState.UNCERTAIN,
            ),
            segment.c.intent_time >= tx.now - REPORTED_FOR,
        )
    )
    moment = report.sent_time or tx.now

    def distance_s(row: Row) -> float:
        sent: datetime = row["send_time"] or row["intent_time"]
        return abs((sent - moment).total_seconds())

    rows = [row for row in every(tx.session, query) if same_number(row["number"], report.number)]
    known = [row for row in rows if row["state"] == SegmentState.SENT]
    near = [
        row
        for row in rows
        if row["state"] == SegmentState.UNCERTAIN
        and report.sent_time is not None
        and distance_s(row) <= REPORT_WINDOW.total_seconds()
    ]
    return min(known or near, key=distance_s, default=None)


def _move(tx: Transaction, row: Row, *, state: SegmentState, **values: Any) -> None:
    """Write a segment, and its message's state where that follows, under the message's lock."""
    segment = tables.sms_segment
    tx.session.execute(update(segment).where(segment.c.id == row["id"]).values(state=state.value, **values))
    message = _message(tx, row)
    states = tx.session.scalars(select(segment.c.state).where(segment.c.sms_id == row["sms_id"]))
    after = fate([SegmentState(each) for each in states])
    if after == message["state"]:
        return
    if after is SmsState.FAILED:
        # What is not on its way yet would only be a fragment.
        rest = segment.c.sms_id == row["sms_id"], segment.c.state == SegmentState.QUEUED
        tx.session.execute(
            update(segment).where(*rest).values(state=state.value, detail="another part failed")
        )
    sms = tables.sms
    changed = {"state": after.value, "version": message["version"] + 1, **_marks(tx, after, row, values)}
    tx.session.execute(update(sms).where(sms.c.id == message["id"]).values(changed))
    if after in _EVENTS:
        tx.emit(_EVENTS[after], message["id"], changed["version"], sms_facts({**message, **changed}))


def _marks(tx: Transaction, state: SmsState, row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message keeps besides its new state."""
    if state is SmsState.SENT:
        return {"send_time": values.get("send_time") or tx.now, "detail": ""}
    if state is SmsState.DELIVERED:
        return {
            "deliver_time": values.get("deliver_time"),
            "send_time": row["send_time"] or tx.now,
            "detail": "",
        }
    if state in (SmsState.FAILED, SmsState.UNCERTAIN):
        return {"detail": values.get("detail", "")}
    return {}
