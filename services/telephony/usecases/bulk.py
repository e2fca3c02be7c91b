"""Send one text to many customers: stage, start, hold, feed to the modems little by little, tell the end.

Every number is in a bulk SMS once, by the table's key, and its SMS has an id derived from both: whatever is repeated,
nobody gets it twice. Only a few of its SMS wait for a modem at a time; a pause takes back what no modem has begun.
Event: `sms_bulk_done`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import case, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import RuleViolation, not_found
from services.chassis.ids import derive_id
from services.chassis.tokens import Caller
from services.kernel.visibility import sees_all
from services.telephony.domain.bulk import (
    AHEAD,
    MOST_RECIPIENTS,
    STEPS,
    BulkKind,
    BulkState,
    RecipientState,
    SkipReason,
    Wording,
)
from services.telephony.domain.sms import Lane, SmsState
from services.telephony.store import tables
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases.desk import in_scope
from services.telephony.usecases.modems import policy_of
from services.telephony.usecases.sms import cut_text, queue_sms

OPEN: Final = (SmsState.QUEUED, SmsState.SENDING)


@dataclass(frozen=True)
class Mobile:
    """A mobile behind a record, E.164; contact_name is empty for the customer's own."""

    customer_id: str
    customer_name: str
    contact_name: str
    number: str


@dataclass(frozen=True)
class Portion:
    """Some customers of the list, in its order, with their mobiles, and where it goes on: "" at its end."""

    customer_ids: Sequence[str]
    mobiles: Sequence[Mobile]
    next_page_token: str


def create_bulk(
    tx: Transaction,
    person_id: str,
    bulk_id: str,
    wording: Wording,
    selection: Mapping[str, str],
    *,
    every_mobile: bool,
) -> Row:
    """Write a bulk SMS that nobody is in yet, and return it; raises InvalidInput as `Wording.check`."""
    wording.check()
    cut_text(wording.text_for(""))
    bulk = tables.sms_bulk
    tx.audit("bulk_sms_created", bulk_id, {"kind": wording.kind.value, "consentBasis": wording.consent_basis})
    added = insert(bulk).values(
        id=bulk_id,
        tenant_id=tx.tenant.id,
        person_id=person_id,
        name=wording.name.strip(),
        kind=wording.kind.value,
        signature=wording.signature.strip(),
        text=wording.text,
        consent_basis=wording.consent_basis.strip(),
        selection=dict(selection),
        every_mobile=every_mobile,
        state=BulkState.STAGING.value,
        create_time=tx.now,
    )
    return every(tx.session, added.returning(bulk))[0]


def wording_of(row: Row) -> Wording:
    """Return what a bulk SMS says."""
    return Wording(row["name"], BulkKind(row["kind"]), row["signature"], row["text"], row["consent_basis"])


def find_bulk(tx: Transaction, viewer: Caller, bulk_id: str, *, lock: bool = False) -> Row:
    """Return a bulk SMS of somebody whom the viewer sees; raises NotFound BULK_SMS_NOT_FOUND."""
    bulk = tables.sms_bulk
    query = select(bulk).where(bulk.c.tenant_id == tx.tenant.id, bulk.c.id == bulk_id)
    if not sees_all(viewer):
        query = query.where(in_scope(tx, viewer, bulk.c.person_id))
    found = one(tx.session, query.with_for_update() if lock else query)
    if found is None:
        raise not_found("bulk_sms", "群发短信", bulk_id)
    return found


def list_bulk(tx: Transaction, viewer: Caller, before: tuple[datetime, str] | None, limit: int) -> list[Row]:
    """Return the bulk SMS of people whom the viewer sees, newest first. before: create time and id of the last one."""
    bulk = tables.sms_bulk
    query = select(bulk).where(bulk.c.tenant_id == tx.tenant.id)
    if not sees_all(viewer):
        query = query.where(in_scope(tx, viewer, bulk.c.person_id))
    if before:
        query = query.where(tuple_(bulk.c.create_time, bulk.c.id) < before)
    return every(tx.session, query.order_by(bulk.c.create_time.desc(), bulk.c.id.desc()).limit(limit))


def stage(tx: Transaction, viewer: Caller, bulk_id: str, page_token: str, portion: Portion) -> Row:
    """Take a portion in, each number once, and return the bulk SMS.

    page_token: where the portion began; if it was taken in meanwhile, nothing happens. Raises NotFound
    BULK_SMS_NOT_FOUND, RuleViolation BULK_SMS_STATE, TOO_MANY_RECIPIENTS.
    """
    bulk = tables.sms_bulk
    row = find_bulk(tx, viewer, bulk_id, lock=True)
    if row["state"] != BulkState.STAGING:
        raise _wrong_state(row)
    if row["page_token"] != page_token:
        return row
    chosen = _chosen(portion.mobiles, every_mobile=row["every_mobile"])
    position = row["next_position"]
    added = 0
    if chosen:
        recipient = tables.sms_recipient
        values = [
            {
                "bulk_id": bulk_id,
                "number": mobile.number,
                "tenant_id": tx.tenant.id,
                "position": place,
                "customer_id": mobile.customer_id,
                "customer_name": mobile.customer_name,
                "contact_name": mobile.contact_name,
                "state": RecipientState.WAITING.value,
            }
            for place, mobile in enumerate(_once(chosen), position)
        ]
        taken = insert(recipient).values(values).on_conflict_do_nothing(index_elements=["bulk_id", "number"])
        added = len(tx.session.execute(taken.returning(recipient.c.number)).all())
    if position + added > MOST_RECIPIENTS:
        raise RuleViolation(
            "TOO_MANY_RECIPIENTS",
            "一次群发最多{most}人，请缩小筛选范围",
            "At most {most} recipients: choose fewer customers",
            most=MOST_RECIPIENTS,
        )
    words = wording_of(row)
    longest = max((mobile.contact_name or mobile.customer_name for mobile in chosen), key=len, default="")
    changed = (
        update(bulk)
        .where(bulk.c.id == bulk_id)
        .values(
            page_token=portion.next_page_token,
            state=(BulkState.STAGING if portion.next_page_token else BulkState.STAGED).value,
            customer_count=bulk.c.customer_count + len(portion.customer_ids),
            # Positions of numbers that were in already stay unused.
            next_position=position + len(chosen),
            duplicate_count=bulk.c.duplicate_count + len(chosen) - added,
            without_mobile_count=bulk.c.without_mobile_count
            + len(set(portion.customer_ids) - {mobile.customer_id for mobile in portion.mobiles}),
            segment_count=func.greatest(bulk.c.segment_count, len(cut_text(words.text_for(longest)).parts)),
        )
    )
    return every(tx.session, changed.returning(bulk))[0]


def _chosen(mobiles: Sequence[Mobile], *, every_mobile: bool) -> list[Mobile]:
    """Return the mobiles that get it: all, or the first of each customer."""
    if every_mobile:
        return list(mobiles)
    first: dict[str, Mobile] = {}
    for mobile in mobiles:
        first.setdefault(mobile.customer_id, mobile)
    return list(first.values())


def _once(mobiles: Sequence[Mobile]) -> list[Mobile]:
    """Return the first mobile of each number."""
    by_number: dict[str, Mobile] = {}
    for mobile in mobiles:
        by_number.setdefault(mobile.number, mobile)
    return list(by_number.values())


def take_step(
    tx: Transaction, viewer: Caller, bulk_id: str, verb: str, start_time: datetime | None = None
) -> Row:
    """Start, pause, resume or cancel a bulk SMS, and return it.

    start_time: of a start, not before; None: now. Raises NotFound BULK_SMS_NOT_FOUND, RuleViolation BULK_SMS_STATE,
    BULK_SMS_EMPTY.
    """
    bulk, recipient = tables.sms_bulk, tables.sms_recipient
    row = find_bulk(tx, viewer, bulk_id, lock=True)
    sources, target, done = STEPS[verb]
    if row["state"] not in sources:
        raise _wrong_state(row)
    values: dict[str, Any] = {"state": target.value}
    if verb == "start":
        if not _counts(tx, [bulk_id]).get(bulk_id):
            raise RuleViolation("BULK_SMS_EMPTY", "没有可以发送的号码", "Nobody in it has a mobile")
        values["start_time"] = start_time or tx.now
    if target in (BulkState.PAUSED, BulkState.CANCELLED):
        _take_back(tx, bulk_id)
    if target is BulkState.CANCELLED:
        tx.session.execute(
            update(recipient)
            .where(recipient.c.bulk_id == bulk_id, recipient.c.state == RecipientState.WAITING)
            .values(state=RecipientState.SKIPPED.value, reason=SkipReason.CANCELLED.value)
        )
        values["end_time"] = tx.now
    tx.audit(f"bulk_sms_{done}", bulk_id)
    return every(tx.session, update(bulk).where(bulk.c.id == bulk_id).values(values).returning(bulk))[0]


def feed(tx: Transaction) -> None:
    """Hand the next SMS of every running bulk to the modems, and end those that are through."""
    if not policy_of(tx).bulk_allowed(tx.now):
        return
    bulk = tables.sms_bulk
    running = (
        select(bulk)
        .where(
            bulk.c.tenant_id == tx.tenant.id,
            bulk.c.state == BulkState.RUNNING,
            bulk.c.start_time <= tx.now,
        )
        .order_by(bulk.c.start_time, bulk.c.id)
        # Whoever holds one is pausing or cancelling it.
        .with_for_update(skip_locked=True)
    )
    for row in every(tx.session, running):
        _feed_one(tx, row)


def _feed_one(tx: Transaction, row: Row) -> None:
    sms, recipient = tables.sms, tables.sms_recipient
    waiting_for_modem = tx.session.scalar(
        select(func.count()).where(sms.c.bulk_id == row["id"], sms.c.state.in_(OPEN))
    )
    room = AHEAD - (waiting_for_modem or 0)
    next_ones = every(
        tx.session,
        select(recipient)
        .where(recipient.c.bulk_id == row["id"], recipient.c.state == RecipientState.WAITING)
        .order_by(recipient.c.position)
        .limit(max(room, 0)),
    )
    if not next_ones:
        if not waiting_for_modem:
            _end(tx, row)
        return
    words, numbers = wording_of(row), [each["number"] for each in next_ones]
    opted_out = _among(tx, tables.sms_opt_out, numbers)
    agreed = _among(tx, tables.sms_consent, numbers)
    for each in next_ones:
        number = each["number"]
        reason = words.skipped(opted_out=number in opted_out, agreed=number in agreed)
        sms_id = None
        if reason is None:
            sms_id = derive_id("bulk", row["id"], number)
            queue_sms(
                tx,
                sms_id,
                row["person_id"],
                number,
                words.text_for(each["contact_name"] or each["customer_name"]),
                lane=Lane.BULK,
                customer_id=each["customer_id"],
                bulk_id=row["id"],
            )
        tx.session.execute(
            update(recipient)
            .where(recipient.c.bulk_id == row["id"], recipient.c.number == number)
            .values(
                state=(RecipientState.SKIPPED if reason else RecipientState.QUEUED).value,
                reason=reason.value if reason else "",
                sms_id=sms_id,
            )
        )


def _end(tx: Transaction, row: Row) -> None:
    bulk = tables.sms_bulk
    tx.session.execute(
        update(bulk).where(bulk.c.id == row["id"]).values(state=BulkState.DONE.value, end_time=tx.now)
    )
    counts = _counts(tx, [row["id"]]).get(row["id"], Counter())
    tx.emit(
        "sms_bulk_done",
        row["id"],
        1,
        {
            "bulkId": row["id"],
            "personId": row["person_id"],
            "name": row["name"],
            "sent": counts[SmsState.SENT.value] + counts[SmsState.DELIVERED.value],
            "failed": counts[SmsState.FAILED.value],
            "uncertain": counts[SmsState.UNCERTAIN.value],
            "skipped": counts[RecipientState.SKIPPED.value],
        },
    )


def _take_back(tx: Transaction, bulk_id: str) -> None:
    """Withdraw the SMS that no modem has begun: their recipients wait again."""
    sms, recipient = tables.sms, tables.sms_recipient
    # A modem that takes one up holds its row: that one goes out.
    untouched = (
        select(sms.c.id)
        .where(sms.c.bulk_id == bulk_id, sms.c.state == SmsState.QUEUED, sms.c.begin_time.is_(None))
        .with_for_update(skip_locked=True)
    )
    ids = list(tx.session.scalars(untouched))
    if not ids:
        return
    tx.session.execute(delete(sms).where(sms.c.id.in_(ids)))
    tx.session.execute(
        update(recipient)
        .where(recipient.c.bulk_id == bulk_id, recipient.c.sms_id.in_(ids))
        .values(state=RecipientState.WAITING.value, sms_id=None)
    )


def progress(tx: Transaction, bulk_ids: Collection[str]) -> dict[str, Counter[str]]:
    """Return how many recipients of each bulk SMS are in which state: their own, or that of their SMS."""
    return _counts(tx, bulk_ids)


def list_recipients(
    tx: Transaction, bulk_id: str, states: Collection[str], after: int, limit: int
) -> list[Row]:
    """Return recipients in their order, each with `fate`, `reason`, `detail`, `send_time` and `position`.

    states: only of these; none: all. after: position of the last one before, -1 for the first page.
    """
    sms, recipient = tables.sms, tables.sms_recipient
    fate = _fate()
    query = (
        select(
            recipient.c.position,
            recipient.c.customer_id,
            recipient.c.customer_name,
            recipient.c.contact_name,
            recipient.c.number,
            recipient.c.sms_id,
            fate.label("fate"),
            func.coalesce(sms.c.reason, recipient.c.reason).label("reason"),
            func.coalesce(sms.c.detail, "").label("detail"),
            sms.c.send_time,
        )
        .outerjoin(sms, sms.c.id == recipient.c.sms_id)
        .where(
            recipient.c.tenant_id == tx.tenant.id,
            recipient.c.bulk_id == bulk_id,
            recipient.c.position > after,
        )
    )
    if states:
        query = query.where(fate.in_(states))
    return every(tx.session, query.order_by(recipient.c.position).limit(limit))


def set_consent(tx: Transaction, person_id: str, number: str, agreed: bool | None) -> None:
    """Note what the person behind a number said about bulk SMS; None: nothing is noted any more."""
    consent, opt_out = tables.sms_consent, tables.sms_opt_out
    for table in (consent, opt_out):
        tx.session.execute(delete(table).where(table.c.tenant_id == tx.tenant.id, table.c.number == number))
    if agreed is True:
        tx.session.execute(
            insert(consent).values(tenant_id=tx.tenant.id, number=number, person_id=person_id, time=tx.now)
        )
    elif agreed is False:
        tx.session.execute(insert(opt_out).values(tenant_id=tx.tenant.id, number=number, time=tx.now))


def consents(tx: Transaction, numbers: Collection[str]) -> dict[str, tuple[bool, datetime]]:
    """Return for each number of which something is noted whether it agreed, and when."""
    found: dict[str, tuple[bool, datetime]] = {}
    for table, agreed in ((tables.sms_consent, True), (tables.sms_opt_out, False)):
        query = select(table.c.number, table.c.time).where(
            table.c.tenant_id == tx.tenant.id, table.c.number.in_(numbers)
        )
        found |= {row["number"]: (agreed, row["time"]) for row in every(tx.session, query)}
    return found


def _among(tx: Transaction, table: Any, numbers: Collection[str]) -> set[str]:
    query = select(table.c.number).where(table.c.tenant_id == tx.tenant.id, table.c.number.in_(numbers))
    return set(tx.session.scalars(query))


def _fate() -> Any:
    sms, recipient = tables.sms, tables.sms_recipient
    return case((recipient.c.state == RecipientState.QUEUED, sms.c.state), else_=recipient.c.state)


def _counts(tx: Transaction, bulk_ids: Collection[str]) -> dict[str, Counter[str]]:
    sms, recipient = tables.sms, tables.sms_recipient
    fate = _fate().label("fate")
    query = (
        select(recipient.c.bulk_id, fate, func.count().label("count"))
        .outerjoin(sms, sms.c.id == recipient.c.sms_id)
        .where(recipient.c.tenant_id == tx.tenant.id, recipient.c.bulk_id.in_(bulk_ids))
        .group_by(recipient.c.bulk_id, fate)
    )
    counts: dict[str, Counter[str]] = {}
    for row in every(tx.session, query):
        counts.setdefault(row["bulk_id"], Counter())[row["fate"]] += row["count"]
    return counts


def _wrong_state(row: Row) -> RuleViolation:
    return RuleViolation(
        "BULK_SMS_STATE",
        "群发短信的当前状态不允许此操作",
        "The bulk SMS is in a state that does not allow this",
        state=row["state"],
    )
