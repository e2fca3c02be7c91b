"""What notify asks its tables."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, tuple_

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.notify.domain.reminders import UNSETTLED
from services.notify.store.tables import Message, Reminder, Template, Tenant


def tenant_name(tx: Transaction) -> str:
    """Return the tenant's name, "" while it is not known."""
    return tx.session.scalars(select(Tenant.name).where(Tenant.tenant_id == tx.tenant.id)).one_or_none() or ""


def messages(
    tx: Transaction, person_id: str, before: tuple[datetime, str] | None, limit: int, *, unread_only: bool
) -> Sequence[Message]:
    """Return a person's messages, newest first, from behind `before` on."""
    query = select(Message).where(Message.tenant_id == tx.tenant.id, Message.person_id == person_id)
    if unread_only:
        query = query.where(Message.read_time.is_(None))
    if before:
        query = query.where(tuple_(Message.create_time, Message.id) < before)
    return tx.session.scalars(
        query.order_by(Message.create_time.desc(), Message.id.desc()).limit(limit)
    ).all()


def unread_count(tx: Transaction, person_id: str) -> int:
    """Return how many messages a person has not read."""
    query = select(func.count()).where(
        Message.tenant_id == tx.tenant.id, Message.person_id == person_id, Message.read_time.is_(None)
    )
    return tx.session.scalar(query) or 0


def reminders_of(tx: Transaction, subject_id: str) -> Sequence[Reminder]:
    """Return the reminders about an order, newest first."""
    return tx.session.scalars(
        select(Reminder)
        .where(Reminder.tenant_id == tx.tenant.id, Reminder.subject_id == subject_id)
        .order_by(Reminder.create_time.desc())
    ).all()


def lock_reminder(tx: Transaction, reminder_id: str) -> Reminder | None:
    """Return a reminder, locked; None when there is none of this id."""
    return tx.session.scalars(
        select(Reminder)
        .where(Reminder.tenant_id == tx.tenant.id, Reminder.id == reminder_id)
        .with_for_update()
    ).one_or_none()


def lock_reminder_of(tx: Transaction, subject_id: str) -> Reminder:
    """Return the reminder about an order, locked; raises NotFound."""
    found = tx.session.scalars(
        select(Reminder)
        .where(Reminder.tenant_id == tx.tenant.id, Reminder.subject_id == subject_id)
        .with_for_update()
    ).one_or_none()
    if found is None:
        raise not_found("reminder", "提醒", subject_id)
    return found


def due_reminders(tx: Transaction, limit: int) -> Sequence[Reminder]:
    """Return the reminders that a sweep must look at now, the longest due first."""
    return tx.session.scalars(
        select(Reminder)
        .where(
            Reminder.tenant_id == tx.tenant.id,
            Reminder.state.in_(UNSETTLED),
            Reminder.attempt_time <= tx.now,
        )
        .order_by(Reminder.attempt_time)
        .limit(limit)
    ).all()


def next_attempt_time(tx: Transaction) -> datetime | None:
    """Return when a sweep has something to do next, None for never."""
    return tx.session.scalar(
        select(func.min(Reminder.attempt_time)).where(
            Reminder.tenant_id == tx.tenant.id, Reminder.state.in_(UNSETTLED)
        )
    )


def due_escalations(tx: Transaction, limit: int) -> Sequence[Reminder]:
    """Return the reminders whose orders the managers are to hear of now, the longest due first."""
    return tx.session.scalars(
        select(Reminder)
        .where(Reminder.tenant_id == tx.tenant.id, Reminder.escalate_time <= tx.now)
        .order_by(Reminder.escalate_time)
        .limit(limit)
    ).all()


def next_escalation_time(tx: Transaction) -> datetime | None:
    """Return when managers may have to hear of an order next, None for never."""
    return tx.session.scalar(
        select(func.min(Reminder.escalate_time)).where(Reminder.tenant_id == tx.tenant.id)
    )


def template(tx: Transaction, kind: str) -> Template | None:
    """Return the tenant's own words for a kind of message, or None."""
    return tx.session.get(Template, {"tenant_id": tx.tenant.id, "kind": kind})
