"""Keep messages: queue them, hand their segments to a modem, note what became of each.

A segment goes to the network at most once by itself: the intent is committed before it is sent, and from
then on only an outcome moves it. A message's state follows from its segments; each change of it is an
event: `sms_sent`, `sms_delivered`, `sms_failed`, `sms_uncertain`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, RuleViolation, not_found
from services.chassis.ids import derive_id
from services.chassis.tokens import Caller
from services.kernel.visibility import sees_all
from services.telephony.domain.sms import (
    LIMITED_ATTEMPTS,
    LONGEST_TEXT,
    REPORT_WINDOW,
    REPORTED_FOR,
    SAME_TEXT_PAUSE,
    VALIDITY,
    Decision,
    Lane,
    Policy,
    Reason,
    SegmentState,
    SmsState,
    fate,
    next_allowed,
    retry_time,
    same_number,
)
from services.telephony.modem.pdu import Encoding, PduError, Split, split
from services.telephony.modem.port import (
    Failure,
    Fate,
    Outgoing,
    Report,
    StaleSegmentError,
)
from services.telephony.store import tables
from services.telephony.store.moves import SMS, adopt
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases.desk import in_scope
from services.telephony.usecases.modems import policy_of

# What NOTIFY says when a message waits for a modem.
CHANNEL: Final = "telephony_sms"

_EVENTS: Final = {
    SmsState.SENT: "sms_sent",
    SmsState.DELIVERED: "sms_delivered",
    SmsState.FAILED: "sms_failed",
    SmsState.UNCERTAIN: "sms_uncertain",
}


def queue_sms(
    tx: Transaction,
    sms_id: str,
    person_id: str | None,
    number: str,
    text: str,
    *,
    lane: Lane = Lane.REMINDER,
    customer_id: str | None = None,
    due_time: datetime | None = None,
    bulk_id: str | None = None,
) -> Row:
    """Queue a message to a number in E.164, a member of staff's or a customer's, and return it.

    due_time: not before; None: now. bulk_id: the bulk SMS that it is of.
    Raises InvalidInput TEXT_LENGTH outside 1 to 500 characters, TEXT_INVALID for what no alphabet has.
    """
    cut = cut_text(text)
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
        "customer_id": customer_id,
        "bulk_id": bulk_id,
        "lane": lane.value,
        "number": number,
        "text": text,
        "encoding": cut.encoding.value,
        "state": SmsState.QUEUED.value,
        "segment_count": len(cut.parts),
        # Two long messages to one handset must not be joined into one.
        "concat_reference": 0 if last is None else (last + 1) % 256,
        "create_time": tx.now,
        "expire_time": (due_time or tx.now) + VALIDITY,
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
                    "priority": lane.priority,
                    "next_attempt_time": due_time or tx.now,
                }
                for part, share in enumerate(cut.parts, 1)
            ]
        )
    )
    tx.session.execute(select(func.pg_notify(CHANNEL, "")))
    row["customer_id"] = adopt(tx, SMS, row)
    blank = {"modem": "", "reason": "", "detail": "", "send_time": None, "deliver_time": None}
    return {**row, **blank, "decided_by_id": None}


def cut_text(text: str, longest: int = LONGEST_TEXT) -> Split:
    """Return a text in the segments that it takes.

    Raises InvalidInput TEXT_LENGTH outside 1 to `longest` characters, TEXT_INVALID for what no alphabet has.
    """
    if not 1 <= len(text) <= longest:
        raise InvalidInput(
            "text",
            "TEXT_LENGTH",
            "短信内容应为1到{longest}字",
            "A text has 1 to {longest} characters",
            longest=longest,
        )
    try:
        return split(text)
    except PduError as error:
        raise InvalidInput(
            "text",
            "TEXT_INVALID",
            "短信内容含有无法发送的字符",
            "The text has characters that cannot be sent",
        ) from error


def find_sms(tx: Transaction, sms_id: str) -> Row | None:
    """Return a message, or None."""
    sms = tables.sms
    return one(tx.session, select(sms).where(sms.c.tenant_id == tx.tenant.id, sms.c.id == sms_id))


def list_sms(
    tx: Transaction,
    viewer: Caller,
    before: tuple[datetime, str] | None,
    limit: int,
    *,
    states: Collection[str] = (),
) -> list[Row]:
    """Return the messages to whom the viewer sees, newest first.

    states: only in these; none: in any. before: create time and id of the last one before.
    """
    sms = tables.sms
    query = select(sms).where(sms.c.tenant_id == tx.tenant.id)
    if not sees_all(viewer):
        query = query.where(in_scope(tx, viewer, sms.c.person_id))
    if states:
        query = query.where(sms.c.state.in_(states))
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
        segment.c.tenant_id == tx.tenant.id, segment.c.modem == modem, used_allowance(segment)
    )
    return [float(seconds) for seconds in tx.session.scalars(query.where(age <= window_s))]


def used_allowance(segment: Table) -> ColumnElement[bool]:
    """Return the condition that a segment counts against its SIM: it went out, or may have."""
    return segment.c.send_time.is_not(None) | (segment.c.state == SegmentState.UNCERTAIN)


def next_segment(tx: Transaction, modem: str) -> Outgoing | None:
    """Claim the next due segment for a modem: by lane, then by time, the parts of a message in order.

    None if there is none. A message that is no longer worth sending, or whose receiver opted out, fails instead;
    one that its number may not get yet is put off.
    """
    sms, segment = tables.sms, tables.sms_segment
    policy = policy_of(tx)
    query = (
        select(segment, *(column.label(f"sms_{column.name}") for column in sms.c))
        .join(sms, sms.c.id == segment.c.sms_id)
        .where(
            segment.c.tenant_id == tx.tenant.id,
            segment.c.state == SegmentState.QUEUED,
            segment.c.next_attempt_time <= tx.now,
            or_(sms.c.modem == "", sms.c.modem == modem),
        )
        .order_by(segment.c.priority, segment.c.next_attempt_time, segment.c.sms_id, segment.c.part)
        .limit(1)
        .with_for_update(of=sms, skip_locked=True)
    )
    if not policy.bulk_allowed(tx.now):
        query = query.where(segment.c.priority < Lane.BULK.priority)
    while (found := one(tx.session, query)) is not None:
        # The message is locked; a column of its own named as one of the segment's comes under its prefix.
        row = {column.name: found[column.name] for column in segment.c}
        message = {column.name: found[f"sms_{column.name}"] for column in sms.c}
        if message["expire_time"] <= tx.now:
            fail(tx, row, Reason.EXPIRED, "expired", message)
            continue
        if message["begin_time"] is None and _held_back(tx, message, row, policy):
            continue
        taken_up = {"modem": modem, "begin_time": message["begin_time"] or tx.now}
        _move(tx, row, message, noted=taken_up, state=SegmentState.CLAIMED, modem=modem)
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


def _held_back(tx: Transaction, message: Row, row: Row, policy: Policy) -> bool:
    """Fail or put off a message that its number may not get, or not yet; tell whether it was."""
    sms, segment, opt_out = tables.sms, tables.sms_segment, tables.sms_opt_out
    number, lane = message["number"], Lane(message["lane"])
    # Of two modems that take up messages to one number, each must see the other's.
    tx.session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"sms {tx.tenant.id} {number}", 0)))
    )
    if lane is Lane.BULK:
        wants_none = select(opt_out.c.number).where(
            opt_out.c.tenant_id == tx.tenant.id, opt_out.c.number == number
        )
        if tx.session.execute(wants_none).first() is not None:
            fail(tx, row, Reason.OPTED_OUT, "the receiver opted out", message)
            return True
    recent = every(
        tx.session,
        select(sms.c.begin_time, sms.c.text, sms.c.lane).where(
            sms.c.tenant_id == tx.tenant.id,
            sms.c.number == number,
            # What is taken up was queued within its validity, or retried so long.
            sms.c.create_time > tx.now - 2 * VALIDITY,
            sms.c.begin_time > tx.now - VALIDITY,
        ),
    )
    same = [each["begin_time"] + SAME_TEXT_PAUSE for each in recent if each["text"] == message["text"]]
    later = max((time for time in same if time > tx.now), default=None)
    if later is None and lane is not Lane.URGENT:
        counted = [each["begin_time"] for each in recent if each["lane"] != Lane.URGENT]
        later = next_allowed(policy, counted, tx.now)
    if later is None:
        return False
    tx.session.execute(
        update(segment)
        .where(segment.c.sms_id == message["id"], segment.c.state == SegmentState.QUEUED)
        .values(next_attempt_time=later)
    )
    return True


def begin_sending(tx: Transaction, segment_id: str, modem: str) -> None:
    """Write the intent to send; raises StaleSegmentError when the segment is not this modem's any more."""
    row, message = _claimed(tx, segment_id, modem, SegmentState.CLAIMED)
    attempts = row["attempts"] + 1
    _move(tx, row, message, state=SegmentState.SENDING, intent_time=tx.now, attempts=attempts)


def note_sent(tx: Transaction, segment_id: str, modem: str, reference: int | None) -> None:
    """Note that the network took a segment."""
    # What was given up as uncertain when its process seemed gone is certain now.
    row, message = _claimed(tx, segment_id, modem, SegmentState.SENDING, SegmentState.UNCERTAIN)
    _move(tx, row, message, state=SegmentState.SENT, send_time=tx.now, reference=reference, detail="")


def note_failed(tx: Transaction, segment_id: str, modem: str, failure: Failure, error: str) -> None:
    """Note a definite refusal: again later, or never."""
    row, message = _claimed(tx, segment_id, modem, SegmentState.CLAIMED, SegmentState.SENDING)
    # Refused before the intent was written: an attempt all the same.
    attempts = row["attempts"] + (row["state"] == SegmentState.CLAIMED)
    if failure is Failure.SIM:
        _give_back(tx, row, attempts=attempts - 1, detail=error)
        return
    next_time = retry_time(attempts, tx.now)
    used_up = failure is Failure.LIMITED and attempts >= LIMITED_ATTEMPTS
    if failure is Failure.MESSAGE or used_up or next_time >= message["expire_time"]:
        fail(tx, row, Reason.REFUSED, error, message)
    else:
        _move(
            tx,
            row,
            message,
            state=SegmentState.QUEUED,
            attempts=attempts,
            next_attempt_time=next_time,
            detail=error,
        )


def note_uncertain(tx: Transaction, segment_id: str, modem: str, error: str) -> None:
    """Note that nobody knows whether a segment went out."""
    row, message = _claimed(tx, segment_id, modem, SegmentState.SENDING)
    _move(tx, row, message, state=SegmentState.UNCERTAIN, detail=error)


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
        fail(tx, row, Reason.NOT_DELIVERED, f"not delivered, status {report.status:#04x}")
    elif row["state"] == SegmentState.UNCERTAIN:
        # Whatever it says: the network has it.
        _move(tx, row, state=SegmentState.SENT, send_time=report.sent_time or tx.now)


def decide(tx: Transaction, viewer: Caller, sms_id: str, decision: Decision) -> Row:
    """Settle an uncertain message by a person's word and return it.

    Raises NotFound SMS_NOT_FOUND, RuleViolation SMS_NOT_UNCERTAIN.
    """
    sms, segment = tables.sms, tables.sms_segment
    query = select(sms).where(sms.c.tenant_id == tx.tenant.id, sms.c.id == sms_id)
    if not sees_all(viewer):
        query = query.where(in_scope(tx, viewer, sms.c.person_id))
    message = one(tx.session, query.with_for_update())
    if message is None:
        raise not_found("sms", "短信", sms_id)
    if message["state"] != SmsState.UNCERTAIN:
        raise RuleViolation(
            "SMS_NOT_UNCERTAIN", "该短信的结果并非未知", "What became of this message is known", id=sms_id
        )
    tx.session.execute(
        update(sms)
        .where(sms.c.id == sms_id)
        .values(
            decided_by_id=viewer.person_id,
            decide_time=tx.now,
            # Sent again, it is worth sending as long as a new one.
            expire_time=tx.now + VALIDITY if decision is Decision.SEND_AGAIN else message["expire_time"],
        )
    )
    doubtful = every(
        tx.session,
        select(segment)
        .where(segment.c.sms_id == sms_id, segment.c.state == SegmentState.UNCERTAIN)
        .order_by(segment.c.part),
    )
    for row in doubtful:
        if decision is Decision.WENT_OUT:
            _move(tx, row, state=SegmentState.SENT, send_time=row["intent_time"])
        elif decision is Decision.DID_NOT:
            fail(tx, row, Reason.DECIDED, "a person says that it did not go out")
        else:
            _give_back(tx, row, attempts=0, next_attempt_time=tx.now, intent_time=None, detail="")
    tx.session.execute(select(func.pg_notify(CHANNEL, "")))
    settled = one(tx.session, select(sms).where(sms.c.id == sms_id))
    if settled is None:
        raise RuntimeError(f"message {sms_id} is gone")
    return settled


def fail(tx: Transaction, row: Row, reason: Reason, detail: str, message: Row | None = None) -> None:
    """Fail a segment and with it its message, for a reason and in words. message: as it is locked, if it is."""
    _move(tx, row, message, state=SegmentState.FAILED, reason=reason, detail=detail)


def sms_facts(row: Row) -> dict[str, Any]:
    """Return what other services learn of a message."""
    return {
        "smsId": row["id"],
        "personId": row["person_id"] or "",
        "customerId": row["customer_id"] or "",
        "lane": row["lane"],
        "text": row["text"],
        "state": row["state"],
        "reason": row["reason"],
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


def _claimed(tx: Transaction, segment_id: str, modem: str, *states: SegmentState) -> tuple[Row, Row]:
    """Return a segment that a modem has in one of these states, and its message, locked."""
    sms, segment = tables.sms, tables.sms_segment
    its = segment.c.tenant_id == tx.tenant.id, segment.c.id == segment_id
    sms_id = select(segment.c.sms_id).where(*its).scalar_subquery()
    message = one(tx.session, select(sms).where(sms.c.id == sms_id).with_for_update())
    # Read under the lock: of two processes that believe to have the segment, one is right.
    row = one(tx.session, select(segment).where(*its)) if message else None
    if message is None or row is None or row["modem"] != modem or row["state"] not in states:
        raise StaleSegmentError(f"segment {segment_id} is not with modem {modem} any more")
    return row, message


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
        tx.session.execute(update(sms).where(sms.c.id == row["sms_id"]).values(modem="", begin_time=None))
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


def _move(
    tx: Transaction,
    row: Row,
    message: Row | None = None,
    *,
    state: SegmentState,
    reason: Reason | None = None,
    noted: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """Write a segment, and its message's state where that follows, under the message's lock.

    message: as it is locked; None: it is locked here. noted: what the message keeps besides.
    """
    sms, segment = tables.sms, tables.sms_segment
    tx.session.execute(update(segment).where(segment.c.id == row["id"]).values(state=state.value, **values))
    message = message or _message(tx, row)
    after = fate(_states(tx, message, state))
    changed = dict(noted or {})
    if after != message["state"]:
        if after is SmsState.FAILED:
            # What is not on its way yet would only be a fragment.
            rest = segment.c.sms_id == row["sms_id"], segment.c.state == SegmentState.QUEUED
            tx.session.execute(
                update(segment).where(*rest).values(state=state.value, detail="another part failed")
            )
        changed |= {
            "state": after.value,
            "version": message["version"] + 1,
            "reason": reason.value if reason else "",
            **_marks(tx, after, row, values),
        }
    if changed:
        tx.session.execute(update(sms).where(sms.c.id == message["id"]).values(changed))
    if after != message["state"] and after in _EVENTS:
        tx.emit(_EVENTS[after], message["id"], changed["version"], sms_facts({**message, **changed}))


def _states(tx: Transaction, message: Row, state: SegmentState) -> list[SegmentState]:
    """Return the states of a message's segments, one of which was just written."""
    if message["segment_count"] == 1:
        return [state]
    segment = tables.sms_segment
    found = tx.session.scalars(select(segment.c.state).where(segment.c.sms_id == message["id"]))
    return [SegmentState(each) for each in found]


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
