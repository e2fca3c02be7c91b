"""Reminders about orders: from the order's birth to the fate of the SMS.

The order of steps is what makes it exactly one SMS: that it will be sent is written before it is handed over, under
an id that the edge takes only once, and from then on only the edge says what became of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.ids import derive_id
from services.notify.domain import texts
from services.notify.domain.notices import ESCALATE_AFTER, Channel
from services.notify.domain.reminders import ReminderState, is_news, next_attempt
from services.notify.domain.templates import fill
from services.notify.store import queries
from services.notify.store.tables import Reminder
from services.notify.usecases.messages import Subject, write_message
from services.notify.workflows.contracts import QUEUE, WAKE, WORKFLOW, Sweeper, reminders_workflow_id


@dataclass(frozen=True)
class DueReminder:
    """What a sweep needs to know of a reminder. sms_text: empty until it is fixed that an SMS goes out."""

    reminder_id: str
    order_id: str
    person_id: str
    sms_text: str


def plan_reminder(
    tx: Transaction, order_id: str, number: str, title: str, *, owner_id: str, due_time: datetime
) -> None:
    """Remind an order's owner at its due time, unless the order is handled before (F188)."""
    tx.session.add(
        Reminder(
            id=derive_id("reminder", tx.tenant.id, order_id),
            tenant_id=tx.tenant.id,
            subject_id=order_id,
            number=number,
            title=title,
            person_id=owner_id,
            due_time=due_time,
            state=ReminderState.PENDING,
            attempt_time=due_time,
            sms_text="",
            detail="",
            create_time=tx.now,
        )
    )
    tx.session.flush()
    tx.start_workflow(
        WorkflowStart(WORKFLOW, reminders_workflow_id(tx.tenant.id), QUEUE, Sweeper(tx.tenant), signal=WAKE)
    )


def cancel_reminder_of(tx: Transaction, order_id: str) -> None:
    """Cancel the reminder of an order that was handled; too late once an SMS goes out. Raises NotFound."""
    reminder = queries.lock_reminder_of(tx, order_id)
    if reminder.state == ReminderState.PENDING:
        reminder.state = ReminderState.CANCELLED
    reminder.escalate_time = None


def due(tx: Transaction, limit: int) -> list[DueReminder]:
    """Return the reminders to see to now, the longest due first."""
    return [
        DueReminder(row.id, row.subject_id, row.person_id, row.sms_text)
        for row in queries.due_reminders(tx, limit)
    ]


def next_time(tx: Transaction) -> datetime | None:
    """Return when a reminder is to be seen to next, None for never."""
    times = [queries.next_attempt_time(tx), queries.next_escalation_time(tx)]
    return min((time for time in times if time), default=None)


def to_escalate(tx: Transaction, limit: int) -> list[DueReminder]:
    """Return the reminders whose orders the managers are to hear of now, if those are still unhandled."""
    return [
        DueReminder(row.id, row.subject_id, row.person_id, row.sms_text)
        for row in queries.due_escalations(tx, limit)
    ]


def escalate_later(tx: Transaction, reminder_id: str) -> None:
    """Look again in a minute: somebody who must be asked is away."""
    reminder = _locked(tx, reminder_id)
    if reminder.escalate_time is not None:
        reminder.escalate_time = tx.now + timedelta(minutes=1)


def escalate(tx: Transaction, reminder_id: str, manager_ids: Sequence[str]) -> None:
    """Tell the managers of an order that is unhandled though its owner was reminded; nobody, if it is handled."""
    reminder = _locked(tx, reminder_id)
    if reminder.escalate_time is None:
        return
    reminder.escalate_time = None
    words = texts.order_escalated(reminder.number, reminder.title)
    subject = Subject("order", reminder.subject_id)
    for manager_id in manager_ids:
        write_message(tx, f"{reminder.id} escalated", manager_id, "order_escalated", subject, words)


def intend_sms(tx: Transaction, reminder_id: str) -> str:
    """Fix that an SMS goes out, and its text; return the text, "" when the order was handled meanwhile."""
    reminder = _locked(tx, reminder_id)
    if reminder.state == ReminderState.PENDING:
        reminder.state = ReminderState.SENDING
        reminder.sms_text = _sms_text(tx, reminder)
    return reminder.sms_text


def handed_over(tx: Transaction, reminder_id: str) -> None:
    """Note that the edge has the SMS, and tell the person in the app too."""
    reminder = _locked(tx, reminder_id)
    # The edge may have told what became of it already.
    if reminder.state == ReminderState.SENDING:
        reminder.state = ReminderState.QUEUED
    _tell_owner(tx, reminder, without_mobile=False)


def only_in_app(tx: Transaction, reminder_id: str, manager_ids: Sequence[str]) -> None:
    """Tell a person without a mobile, and the managers, in the app (O16)."""
    reminder = _locked(tx, reminder_id)
    reminder.state = ReminderState.IN_APP_ONLY
    reminder.detail = "没有登记手机号，已在应用内提醒本人和上级 / no mobile: told in the app, managers too"
    _tell_owner(tx, reminder, without_mobile=True)
    words = texts.team_order_overdue(reminder.number, reminder.title)
    for manager_id in manager_ids:
        write_message(
            tx, reminder.id, manager_id, "order_reminder", Subject("order", reminder.subject_id), words
        )


def give_up(tx: Transaction, reminder_id: str, why: str) -> None:
    """Note that no SMS can ever go out, and tell the person in the app."""
    reminder = _locked(tx, reminder_id)
    reminder.state = ReminderState.FAILED
    reminder.detail = why
    _tell_owner(tx, reminder, without_mobile=False)


def try_again_later(tx: Transaction, reminder_id: str, why: str) -> None:
    """Note a try that failed and when the next one is."""
    reminder = _locked(tx, reminder_id)
    reminder.attempts += 1
    reminder.attempt_time = next_attempt(reminder.attempts, tx.now)
    reminder.detail = why


def hear_of_sms(tx: Transaction, sms_id: str, heard: ReminderState, version: int, detail: str) -> None:
    """Note what the edge tells of a reminder's SMS; of other SMS, or older news, nothing."""
    reminder = queries.lock_reminder(tx, sms_id)
    if reminder and is_news(ReminderState(reminder.state), reminder.sms_version, version):
        failed_before = reminder.state == ReminderState.FAILED
        reminder.state = heard
        reminder.sms_version = version
        reminder.detail = detail
        if heard is ReminderState.FAILED and not failed_before:
            # It goes on by every other way that the person has.
            subject = Subject("order", reminder.subject_id)
            words = texts.sms_not_delivered(reminder.sms_text)
            write_message(
                tx,
                f"{reminder.id} failed",
                reminder.person_id,
                "order_reminder",
                subject,
                words,
                without=[Channel.SMS],
            )


def _locked(tx: Transaction, reminder_id: str) -> Reminder:
    reminder = queries.lock_reminder(tx, reminder_id)
    if reminder is None:
        raise RuntimeError(f"reminder {reminder_id} is gone")
    return reminder


def _sms_text(tx: Transaction, reminder: Reminder) -> str:
    """Return the SMS in the tenant's own words, else in ours."""
    name = queries.tenant_name(tx)
    own = queries.template(tx, "order_sms")
    if own is None:
        return texts.order_sms(name, reminder.number, reminder.title)
    values = {
        "tenant": name,
        "number": reminder.number,
        "title": texts.shortened(reminder.title),
    }
    return fill(own.text_zh, values)


def _tell_owner(tx: Transaction, reminder: Reminder, *, without_mobile: bool) -> None:
    reminder.escalate_time = tx.now + ESCALATE_AFTER
    words = texts.order_overdue(reminder.number, reminder.title, without_mobile=without_mobile)
    write_message(
        tx,
        reminder.id,
        reminder.person_id,
        "order_reminder",
        Subject("order", reminder.subject_id),
        words,
        # The reminder is an SMS already.
        without=[Channel.SMS],
    )
