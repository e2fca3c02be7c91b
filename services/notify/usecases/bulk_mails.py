"""Send one mail to many customers: stage, start, send one after the other, tell the end (F200).

Every address is in a bulk mail once, by the table's key. A mail is sent at most once by itself: the intent is written
before, the outcome after it, and an intent without an outcome becomes uncertain.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import RuleViolation, not_found
from services.chassis.ids import derive_id
from services.notify.domain import texts
from services.notify.domain.bulk_mail import MOST_RECIPIENTS, BulkMailState, RecipientState, Wording
from services.notify.domain.notices import OUTCOME_WITHIN, Channel, DeliveryState, retry_after
from services.notify.store.tables import BulkMail, MailRecipient, MailRefusal
from services.notify.usecases.deliveries import Outgoing, preferences_of, wake
from services.notify.usecases.messages import Subject, write_message
from services.notify.usecases.settings import MAIL

# A sweep has something to do for these.
UNSETTLED: Final = (RecipientState.WAITING.value, RecipientState.SENDING.value)


@dataclass(frozen=True)
class Address:
    """A mail address of a customer."""

    customer_id: str
    customer_name: str
    address: str


@dataclass(frozen=True)
class Portion:
    """Some customers of the list, in its order, with their addresses, and where it goes on: "" at its end."""

    customer_ids: Sequence[str]
    addresses: Sequence[Address]
    next_page_token: str


def create(
    tx: Transaction, person_id: str, bulk_id: str, wording: Wording, selection: Mapping[str, str]
) -> BulkMail:
    """Write a bulk mail that nobody is in yet; raises InvalidInput as `Wording.check`."""
    wording.check()
    row = BulkMail(
        id=bulk_id,
        tenant_id=tx.tenant.id,
        person_id=person_id,
        subject=wording.subject.strip(),
        text=wording.text,
        selection=dict(selection),
        state=BulkMailState.STAGING,
        page_token="",
        customer_count=0,
        duplicate_count=0,
        without_address_count=0,
        start_time=None,
        create_time=tx.now,
        end_time=None,
    )
    tx.session.add(row)
    tx.session.flush()
    tx.audit("bulk_mail_created", bulk_id)
    return row


def find(tx: Transaction, person_id: str, bulk_id: str, *, lock: bool = False) -> BulkMail:
    """Return a person's own bulk mail; raises NotFound BULK_MAIL_NOT_FOUND."""
    query = select(BulkMail).where(
        BulkMail.tenant_id == tx.tenant.id, BulkMail.id == bulk_id, BulkMail.person_id == person_id
    )
    row = tx.session.scalars(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise not_found("bulk_mail", "群发邮件", bulk_id)
    return row


def of_person(
    tx: Transaction, person_id: str, before: tuple[datetime, str] | None, limit: int
) -> Sequence[BulkMail]:
    """Return a person's bulk mails, newest first. before: create time and id of the last one before."""
    query = select(BulkMail).where(BulkMail.tenant_id == tx.tenant.id, BulkMail.person_id == person_id)
    if before:
        query = query.where(tuple_(BulkMail.create_time, BulkMail.id) < before)
    return tx.session.scalars(
        query.order_by(BulkMail.create_time.desc(), BulkMail.id.desc()).limit(limit)
    ).all()


def stage(tx: Transaction, person_id: str, bulk_id: str, page_token: str, portion: Portion) -> BulkMail:
    """Take a portion in, each address once.

    page_token: where the portion began; if it was taken in meanwhile, nothing happens. Raises NotFound
    BULK_MAIL_NOT_FOUND, RuleViolation BULK_MAIL_STATE, TOO_MANY_RECIPIENTS.
    """
    row = find(tx, person_id, bulk_id, lock=True)
    _check_state(row, BulkMailState.STAGING)
    if row.page_token != page_token:
        return row
    # An address is one whatever its case; what cannot be one is nobody's.
    usable = [each for each in portion.addresses if MAIL.fullmatch(each.address)]
    by_address = {each.address.lower(): each for each in reversed(usable)}
    position = row.customer_count
    places = {customer_id: place for place, customer_id in enumerate(portion.customer_ids, position)}
    added = 0
    if by_address:
        values = [
            {
                "id": derive_id("bulk_mail", bulk_id, address),
                "bulk_id": bulk_id,
                "tenant_id": tx.tenant.id,
                "address": address,
                "position": places[each.customer_id],
                "customer_id": each.customer_id,
                "customer_name": each.customer_name,
                "state": RecipientState.WAITING.value,
                "attempts": 0,
                "attempt_time": tx.now,
                "detail": "",
                "done_time": None,
            }
            for address, each in by_address.items()
        ]
        taken = insert(MailRecipient).values(values).on_conflict_do_nothing()
        added = len(tx.session.execute(taken.returning(MailRecipient.id)).all())
    row.page_token = portion.next_page_token
    row.customer_count += len(portion.customer_ids)
    row.duplicate_count += len(usable) - added
    row.without_address_count += len(set(portion.customer_ids) - {each.customer_id for each in usable})
    if sum(progress(tx, [bulk_id]).get(bulk_id, Counter()).values()) > MOST_RECIPIENTS:
        raise RuleViolation(
            "TOO_MANY_RECIPIENTS",
            "一次群发最多{most}人，请缩小筛选范围",
            "At most {most} recipients: choose fewer customers",
            most=MOST_RECIPIENTS,
        )
    if not portion.next_page_token:
        row.state = BulkMailState.STAGED
    return row


def start(tx: Transaction, person_id: str, bulk_id: str, start_time: datetime | None) -> BulkMail:
    """Send it from a time on, None: now.

    Raises NotFound BULK_MAIL_NOT_FOUND, RuleViolation BULK_MAIL_STATE, BULK_MAIL_EMPTY.
    """
    row = find(tx, person_id, bulk_id, lock=True)
    _check_state(row, BulkMailState.STAGED)
    if not progress(tx, [bulk_id]):
        raise RuleViolation("BULK_MAIL_EMPTY", "没有可以发送的邮箱", "Nobody in it has a mail address")
    row.state, row.start_time = BulkMailState.RUNNING, start_time or tx.now
    tx.session.execute(
        update(MailRecipient)
        .where(MailRecipient.tenant_id == tx.tenant.id, MailRecipient.bulk_id == bulk_id)
        .values(attempt_time=row.start_time)
    )
    tx.audit("bulk_mail_started", bulk_id)
    wake(tx)
    return row


def cancel(tx: Transaction, person_id: str, bulk_id: str) -> BulkMail:
    """Send no more of it; raises NotFound BULK_MAIL_NOT_FOUND, RuleViolation BULK_MAIL_STATE."""
    row = find(tx, person_id, bulk_id, lock=True)
    _check_state(row, BulkMailState.STAGING, BulkMailState.STAGED, BulkMailState.RUNNING)
    row.state, row.end_time = BulkMailState.CANCELLED, tx.now
    # One that is being sent keeps its outcome.
    tx.session.execute(
        update(MailRecipient)
        .where(
            MailRecipient.tenant_id == tx.tenant.id,
            MailRecipient.bulk_id == bulk_id,
            MailRecipient.state == RecipientState.WAITING,
        )
        .values(state=RecipientState.SKIPPED.value, detail="CANCELLED", done_time=tx.now)
    )
    tx.audit("bulk_mail_cancelled", bulk_id)
    return row


def recipients(
    tx: Transaction, bulk_id: str, after: tuple[int, str] | None, limit: int
) -> list[tuple[MailRecipient, bool]]:
    """Return recipients in their order, each with whether its address refuses bulk mail."""
    refused = exists().where(
        MailRefusal.tenant_id == MailRecipient.tenant_id, MailRefusal.address == MailRecipient.address
    )
    query = select(MailRecipient, refused.label("refused")).where(
        MailRecipient.tenant_id == tx.tenant.id, MailRecipient.bulk_id == bulk_id
    )
    if after:
        query = query.where(tuple_(MailRecipient.position, MailRecipient.id) > after)
    rows = tx.session.execute(query.order_by(MailRecipient.position, MailRecipient.id).limit(limit))
    return [(row.MailRecipient, row.refused) for row in rows]


def refuse(tx: Transaction, person_id: str, bulk_id: str, recipient_id: str, *, refused: bool) -> None:
    """Note that whoever has a recipient's address wants no bulk mail, of anybody's here, or wants it again.

    Raises NotFound BULK_MAIL_NOT_FOUND, RECIPIENT_NOT_FOUND.
    """
    find(tx, person_id, bulk_id)
    row = tx.session.get(MailRecipient, recipient_id)
    if row is None or (row.tenant_id, row.bulk_id) != (tx.tenant.id, bulk_id):
        raise not_found("recipient", "收件人", recipient_id)
    known = tx.session.get(MailRefusal, (tx.tenant.id, row.address))
    if refused and known is None:
        tx.session.add(
            MailRefusal(tenant_id=tx.tenant.id, address=row.address, person_id=person_id, time=tx.now)
        )
    elif known is not None and not refused:
        tx.session.delete(known)
    tx.audit("bulk_mail_refusal_noted", row.customer_id, {"refused": str(refused)})


def progress(tx: Transaction, bulk_ids: Collection[str]) -> dict[str, Counter[str]]:
    """Return how many recipients of each bulk mail are in which state."""
    counts: dict[str, Counter[str]] = {}
    query = (
        select(MailRecipient.bulk_id, MailRecipient.state, func.count().label("recipients"))
        .where(MailRecipient.tenant_id == tx.tenant.id, MailRecipient.bulk_id.in_(bulk_ids))
        .group_by(MailRecipient.bulk_id, MailRecipient.state)
    )
    for row in tx.session.execute(query):
        counts.setdefault(row.bulk_id, Counter())[row.state] = row.recipients
    return counts


# --- sending


def due(tx: Transaction, limit: int) -> list[Outgoing]:
    """Return the mails to send now; who refuses bulk mail is skipped, what nobody knows of is uncertain."""
    rows = tx.session.execute(
        select(MailRecipient, BulkMail)
        .where(_open(tx), MailRecipient.attempt_time <= tx.now)
        .order_by(MailRecipient.attempt_time, MailRecipient.position, MailRecipient.id)
        .limit(limit)
        .with_for_update(of=MailRecipient, skip_locked=True)
    ).all()
    refusing = set(
        tx.session.scalars(
            select(MailRefusal.address).where(
                MailRefusal.tenant_id == tx.tenant.id,
                MailRefusal.address.in_([row.MailRecipient.address for row in rows]),
            )
        )
    )
    reply_to = {
        person_id: preferences_of(tx, person_id).mail
        for person_id in {row.BulkMail.person_id for row in rows}
    }
    outgoing = []
    for recipient, bulk in rows:
        if recipient.state == RecipientState.SENDING:
            _settle(tx, recipient, RecipientState.UNCERTAIN, "the process ended while it was sent")
        elif recipient.address in refusing:
            _settle(tx, recipient, RecipientState.SKIPPED, "REFUSED")
        else:
            subject, text = Wording(bulk.subject, bulk.text).to(recipient.customer_name)
            outgoing.append(
                Outgoing(
                    (recipient.id,),
                    Channel.MAIL,
                    bulk.person_id,
                    subject,
                    text,
                    address=recipient.address,
                    reply_to=reply_to[bulk.person_id],
                )
            )
    return outgoing


def begin(tx: Transaction, outgoing: Outgoing) -> bool:
    """Write the intent to send; tell whether it is still to be sent."""
    row = _locked(tx, outgoing)
    if row.state != RecipientState.WAITING:
        return False
    row.state = RecipientState.SENDING
    row.attempts += 1
    # Looked at again when no outcome comes.
    row.attempt_time = tx.now + OUTCOME_WITHIN
    return True


def settle(tx: Transaction, outgoing: Outgoing, state: DeliveryState, detail: str) -> None:
    """Write what became of it; PENDING: it did not go out and may be tried again."""
    row = _locked(tx, outgoing)
    if row.state != RecipientState.SENDING:
        return
    wait = retry_after(row.attempts) if state is DeliveryState.PENDING else None
    if wait is not None:
        row.state, row.attempt_time, row.detail = RecipientState.WAITING, tx.now + wait, detail
    else:
        ended = RecipientState.FAILED if state is DeliveryState.PENDING else RecipientState(state.value)
        _settle(tx, row, ended, detail)


def end_those_through(tx: Transaction) -> None:
    """End the bulk mails of which everybody is settled, and tell their writers."""
    open_one = exists().where(
        MailRecipient.tenant_id == BulkMail.tenant_id,
        MailRecipient.bulk_id == BulkMail.id,
        MailRecipient.state.in_(UNSETTLED),
    )
    rows = tx.session.scalars(
        select(BulkMail)
        .where(BulkMail.tenant_id == tx.tenant.id, BulkMail.state == BulkMailState.RUNNING, ~open_one)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        row.state, row.end_time = BulkMailState.DONE, tx.now
        counts = progress(tx, [row.id])[row.id]
        words = texts.bulk_mail_done(
            row.subject,
            counts[RecipientState.SENT],
            counts[RecipientState.FAILED],
            counts[RecipientState.UNCERTAIN],
            counts[RecipientState.SKIPPED],
        )
        write_message(tx, row.id, row.person_id, "bulk_mail_done", Subject("bulk_mail", row.id), words)


def next_time(tx: Transaction) -> datetime | None:
    """Return when a mail is to be sent next, None for never."""
    return tx.session.scalar(select(func.min(MailRecipient.attempt_time)).where(_open(tx)))


def _open(tx: Transaction) -> ColumnElement[bool]:
    """Return the condition that a recipient is not settled, of a bulk mail that goes out."""
    return and_(
        MailRecipient.tenant_id == tx.tenant.id,
        MailRecipient.state.in_(UNSETTLED),
        BulkMail.id == MailRecipient.bulk_id,
        # A cancelled one may have a mail whose outcome is still open.
        BulkMail.state.in_([BulkMailState.RUNNING, BulkMailState.CANCELLED]),
    )


def _locked(tx: Transaction, outgoing: Outgoing) -> MailRecipient:
    return tx.session.scalars(
        select(MailRecipient)
        .where(MailRecipient.tenant_id == tx.tenant.id, MailRecipient.id == outgoing.delivery_ids[0])
        .with_for_update()
    ).one()


def _settle(tx: Transaction, row: MailRecipient, state: RecipientState, detail: str) -> None:
    row.state, row.detail, row.done_time = state, detail, tx.now


def _check_state(row: BulkMail, *allowed: BulkMailState) -> None:
    if row.state not in allowed:
        raise RuleViolation(
            "BULK_MAIL_STATE",
            "群发邮件的当前状态不允许此操作",
            "The bulk mail is in a state that does not allow this",
            state=row.state,
        )
