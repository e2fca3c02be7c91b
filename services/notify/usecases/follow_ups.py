"""Remind people to follow up: at times that they set, and by a customer's own cadence. Both stop when it was done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from sqlalchemy import bindparam, func, select, tuple_, update

from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.chassis.errors import InvalidInput, not_found
from services.notify.domain import texts
from services.notify.domain.notices import GAPS_KEPT, next_firing, overdue_time
from services.notify.store.tables import Cadence, FollowUpReminder
from services.notify.usecases.deliveries import wake
from services.notify.usecases.messages import Subject, write_message

ACTIVE: Final = "active"
DONE: Final = "done"

# What a reminder can be about, besides nothing.
SUBJECTS: Final = ("customer", "lead", "order")

LONGEST_TITLE: Final = 100
# The most often, and the longest ahead, that a reminder fires.
SHORTEST_INTERVAL: Final = 5
LONGEST_AHEAD: Final = timedelta(days=3 * 366)
# Characters of the last follow-up that a message carries.
LONGEST_LAST: Final = 60

# Most customers have no cadence yet.
_KNOWN: Final = DriverQuery(
    select(Cadence.version).where(
        Cadence.tenant_id == bindparam("tenant_id"), Cadence.customer_id == bindparam("customer_id")
    )
)


@dataclass(frozen=True)
class Plan:
    """What somebody wants to be reminded of.

    subject_type: "customer", "lead", "order" or "" for a plain entry of the schedule. interval_minutes: 0 for once.
    """

    title: str
    first_time: datetime
    interval_minutes: int = 0
    until_time: datetime | None = None
    subject_type: str = ""
    subject_id: str = ""
    subject_name: str = ""
    source: str = ""


def set_reminder(tx: Transaction, reminder_id: str, person_id: str, plan: Plan) -> FollowUpReminder:
    """Remind a person at a time, and then as often as said, until it is done (F191, F192, F206).

    Raises InvalidInput REMINDER_TITLE, REMINDER_TIME, REMINDER_INTERVAL, REMINDER_SUBJECT.
    """
    _check(tx, plan)
    reminder = FollowUpReminder(
        id=reminder_id,
        tenant_id=tx.tenant.id,
        person_id=person_id,
        title=plan.title.strip(),
        subject_type=plan.subject_type,
        subject_id=plan.subject_id or None,
        subject_name=plan.subject_name,
        source=plan.source,
        state=ACTIVE,
        first_time=plan.first_time,
        next_time=plan.first_time,
        interval_minutes=plan.interval_minutes,
        until_time=plan.until_time,
        fired_count=0,
        create_time=tx.now,
        done_time=None,
    )
    tx.session.add(reminder)
    wake(tx)
    return reminder


def finish_reminder(tx: Transaction, person_id: str, reminder_id: str) -> FollowUpReminder:
    """Stop an own reminder: it is done; raises NotFound REMINDER_NOT_FOUND."""
    reminder = tx.session.scalars(
        select(FollowUpReminder)
        .where(
            FollowUpReminder.tenant_id == tx.tenant.id,
            FollowUpReminder.id == reminder_id,
            FollowUpReminder.person_id == person_id,
        )
        .with_for_update()
    ).one_or_none()
    if reminder is None:
        raise not_found("reminder", "提醒", reminder_id)
    if reminder.state == ACTIVE:
        reminder.state, reminder.next_time, reminder.done_time = DONE, None, tx.now
    return reminder


def reminders_of_person(
    tx: Transaction, person_id: str, before: tuple[datetime, str] | None, limit: int, *, active_only: bool
) -> Sequence[FollowUpReminder]:
    """Return the reminders that a person has set, newest first, from behind `before` on."""
    query = select(FollowUpReminder).where(
        FollowUpReminder.tenant_id == tx.tenant.id, FollowUpReminder.person_id == person_id
    )
    if active_only:
        query = query.where(FollowUpReminder.state == ACTIVE)
    if before:
        query = query.where(tuple_(FollowUpReminder.create_time, FollowUpReminder.id) < before)
    return tx.session.scalars(
        query.order_by(FollowUpReminder.create_time.desc(), FollowUpReminder.id.desc()).limit(limit)
    ).all()


def hear_of_follow_up(
    tx: Transaction, subject_type: str, subject_id: str, *, author_id: str, text: str, time: datetime
) -> None:
    """Stop the author's reminders about a subject that was followed up: those that were due by then (F192)."""
    tx.session.execute(
        update(FollowUpReminder)
        .where(
            FollowUpReminder.tenant_id == tx.tenant.id,
            FollowUpReminder.subject_type == subject_type,
            FollowUpReminder.subject_id == subject_id,
            FollowUpReminder.person_id == author_id,
            FollowUpReminder.state == ACTIVE,
            FollowUpReminder.first_time <= time,
        )
        .values(state=DONE, next_time=None, done_time=tx.now)
    )


def fire_due(tx: Transaction, limit: int) -> int:
    """Write the messages of reminders that are due; return how many."""
    rows = tx.session.scalars(
        select(FollowUpReminder)
        .where(FollowUpReminder.tenant_id == tx.tenant.id, FollowUpReminder.next_time <= tx.now)
        .order_by(FollowUpReminder.next_time, FollowUpReminder.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        due_time = row.next_time or tx.now
        last = _last_text(tx, row.subject_id) if row.subject_type == "customer" else ""
        subject = Subject(row.subject_type, row.subject_id) if row.subject_id else Subject("reminder", row.id)
        words = texts.follow_up_due(row.title, row.subject_name, row.source, last)
        write_message(tx, f"{row.id} {row.fired_count}", row.person_id, "follow_up_due", subject, words)
        every = timedelta(minutes=row.interval_minutes) if row.interval_minutes else None
        row.fired_count += 1
        row.next_time = next_firing(due_time, every, row.until_time, tx.now)
        if row.next_time is None:
            row.state, row.done_time = DONE, tx.now
    return len(rows)


def note_follow_up(
    tx: Transaction, customer_id: str, name: str, owner_id: str, *, text: str, time: datetime
) -> None:
    """Learn a customer's cadence from one more follow-up (F193); one that is heard of late changes nothing."""
    row = _cadence(tx, customer_id)
    if row is None:
        row = Cadence(
            tenant_id=tx.tenant.id,
            customer_id=customer_id,
            name=name,
            owner_id=owner_id or None,
            last_time=time,
            last_text=text,
            gaps_s=[],
            due_time=None,
            overdue_time=None,
            version=0,
        )
        tx.session.add(row)
    elif time > row.last_time:
        gap = (time - row.last_time).total_seconds()
        row.name, row.last_text, row.last_time, row.owner_id = name, text, time, owner_id or None
        # Several notes of one talk are one follow-up.
        if gap >= timedelta(hours=1).total_seconds():
            row.gaps_s = [*row.gaps_s, gap][-GAPS_KEPT:]
        row.due_time = row.overdue_time = overdue_time(time, row.gaps_s) if row.owner_id else None
        wake(tx)


def note_owner(tx: Transaction, customer_id: str, owner_id: str, version: int) -> None:
    """Remind the owner of now; nobody while the customer is in a pool."""
    mine = {"tenant_id": tx.tenant.id, "customer_id": customer_id}
    row = _cadence(tx, customer_id) if _KNOWN.rows(tx, mine) else None
    if row is None or version <= row.version:
        return
    row.version = version
    row.owner_id = owner_id or None
    # A new owner begins with a whole gap.
    row.due_time = row.overdue_time = overdue_time(tx.now, row.gaps_s) if owner_id else None
    wake(tx)


def fire_overdue(tx: Transaction, limit: int) -> int:
    """Write the messages about customers that are overdue by their own cadence, once each; return how many."""
    rows = tx.session.scalars(
        select(Cadence)
        .where(Cadence.tenant_id == tx.tenant.id, Cadence.due_time <= tx.now)
        .order_by(Cadence.due_time, Cadence.customer_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        if row.owner_id:
            days = max(1, round(median(row.gaps_s) / 86_400))
            words = texts.cadence_overdue(row.name, days, _short(row.last_text))
            cause = f"{row.customer_id} {row.last_time.isoformat()} {row.owner_id}"
            subject = Subject("customer", row.customer_id)
            write_message(tx, cause, row.owner_id, "cadence_overdue", subject, words)
        row.due_time = None
    return len(rows)


def next_time(tx: Transaction) -> datetime | None:
    """Return when somebody is to be reminded next, None for never."""
    times = [
        tx.session.scalar(
            select(func.min(FollowUpReminder.next_time)).where(FollowUpReminder.tenant_id == tx.tenant.id)
        ),
        tx.session.scalar(select(func.min(Cadence.due_time)).where(Cadence.tenant_id == tx.tenant.id)),
    ]
    return min((time for time in times if time), default=None)


def _cadence(tx: Transaction, customer_id: str) -> Cadence | None:
    return tx.session.scalars(
        select(Cadence)
        .where(Cadence.tenant_id == tx.tenant.id, Cadence.customer_id == customer_id)
        .with_for_update()
    ).one_or_none()


def _last_text(tx: Transaction, customer_id: str | None) -> str:
    row = tx.session.get(Cadence, {"tenant_id": tx.tenant.id, "customer_id": customer_id})
    return _short(row.last_text) if row else ""


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LAST else f"{text[:LONGEST_LAST]}…"


def _check(tx: Transaction, plan: Plan) -> None:
    if not 1 <= len(plan.title.strip()) <= LONGEST_TITLE:
        raise InvalidInput(
            "title",
            "REMINDER_TITLE",
            "请填写1到{most}字的提醒内容",
            "1 to {most} characters",
            most=LONGEST_TITLE,
        )
    if not tx.now < plan.first_time <= tx.now + LONGEST_AHEAD:
        raise InvalidInput(
            "first_time",
            "REMINDER_TIME",
            "提醒时间应在将来三年之内",
            "The time is in the future, within three years",
        )
    if plan.interval_minutes and not SHORTEST_INTERVAL <= plan.interval_minutes <= 366 * 24 * 60:
        raise InvalidInput(
            "interval_minutes",
            "REMINDER_INTERVAL",
            "提醒间隔应为{least}分钟到一年",
            "The interval is {least} minutes to a year",
            least=SHORTEST_INTERVAL,
        )
    if plan.until_time is not None and plan.until_time < plan.first_time:
        raise InvalidInput(
            "until_time", "REMINDER_TIME", "结束时间不能早于提醒时间", "It does not end before it begins"
        )
    for field, text in (("subject_name", plan.subject_name), ("source", plan.source)):
        if len(text) > LONGEST_TITLE:
            raise InvalidInput(
                field, "REMINDER_SUBJECT", "最多{most}字", "At most {most} characters", most=LONGEST_TITLE
            )
    if (plan.subject_type in SUBJECTS) is not bool(plan.subject_id) or plan.subject_type not in (
        "",
        *SUBJECTS,
    ):
        raise InvalidInput(
            "subject_type", "REMINDER_SUBJECT", "提醒对象无效", "What it is about is not understood"
        )
