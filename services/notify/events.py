"""What notify takes from other services: facts that somebody must hear of, and the fate of SMS."""

from datetime import datetime

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.notify.domain import texts
from services.notify.domain.reminders import ReminderState
from services.notify.usecases.messages import Subject, write_message
from services.notify.usecases.reminders import cancel_reminder_of, hear_of_sms, plan_reminder
from services.notify.usecases.tenants import name_tenant

handlers = Handlers("notify")


@handlers.on("identity", "tenant_created")
def on_tenant_created(tx: Transaction, event: Event) -> None:
    """Keep the name that SMS are signed with."""
    name_tenant(tx, event.data["tenantName"])


@handlers.on("orders", "order_generated")
def on_order_generated(tx: Transaction, event: Event) -> None:
    """Tell the owner, and plan the reminder."""
    data = event.data
    subject = Subject("order", data["orderId"])
    words = texts.order_generated(data["number"], data["title"])
    write_message(tx, event.id, data["ownerId"], "order_generated", subject, words)
    plan_reminder(
        tx,
        data["orderId"],
        data["number"],
        data["title"],
        owner_id=data["ownerId"],
        due_time=datetime.fromisoformat(data["remindTime"]),
    )


@handlers.on("orders", "order_handled")
def on_order_handled(tx: Transaction, event: Event) -> None:
    """Cancel the reminder; NotFound until the order's birth has been heard of, by another queue."""
    cancel_reminder_of(tx, event.data["orderId"])


@handlers.on("approvals", "approval_step_opened")
def on_approval_step_opened(tx: Transaction, event: Event) -> None:
    """Tell each approver, once (F186)."""
    _tell_approvers(tx, event, texts.approval_waiting(event.data["title"]))


@handlers.on("approvals", "approval_step_overdue")
def on_approval_step_overdue(tx: Transaction, event: Event) -> None:
    """Tell each approver again (F197)."""
    _tell_approvers(tx, event, texts.approval_overdue(event.data["title"]))


@handlers.on("approvals", "approval_passed")
def on_approval_passed(tx: Transaction, event: Event) -> None:
    """Tell the submitter."""
    _tell_submitter(tx, event, passed=True)


@handlers.on("approvals", "approval_rejected")
def on_approval_rejected(tx: Transaction, event: Event) -> None:
    """Tell the submitter."""
    _tell_submitter(tx, event, passed=False)


@handlers.on("customers", "reclaim_warned")
def on_reclaim_warned(tx: Transaction, event: Event) -> None:
    """Tell the owner (F187)."""
    data = event.data
    due_time = datetime.fromisoformat(data["reclaimDueTime"]) if data["reclaimDueTime"] else None
    subject = Subject("customer", data["customerId"])
    words = texts.reclaim_warned(data["name"], due_time)
    write_message(tx, event.id, data["ownerId"], "reclaim_warned", subject, words)


@handlers.on("customers", "customer_reclaimed")
def on_customer_reclaimed(tx: Transaction, event: Event) -> None:
    """Tell who was the owner."""
    data = event.data
    subject = Subject("customer", data["customerId"])
    words = texts.customer_reclaimed(data["name"])
    write_message(tx, event.id, data["fromOwnerId"], "customer_reclaimed", subject, words)


@handlers.on("leads", "lead_assigned")
def on_lead_assigned(tx: Transaction, event: Event) -> None:
    """Tell the owner, unless it was the owner who did it."""
    data = event.data
    if data["ownerId"] != event.actor_id:
        subject = Subject("lead", data["leadId"])
        words = texts.lead_assigned(data["name"])
        write_message(tx, event.id, data["ownerId"], "lead_assigned", subject, words)


@handlers.on("telephony", "sms_sent")
def on_sms_sent(tx: Transaction, event: Event) -> None:
    """The network took it."""
    _hear(tx, event, ReminderState.SENT)


@handlers.on("telephony", "sms_delivered")
def on_sms_delivered(tx: Transaction, event: Event) -> None:
    """The handset confirmed it."""
    _hear(tx, event, ReminderState.DELIVERED)


@handlers.on("telephony", "sms_failed")
def on_sms_failed(tx: Transaction, event: Event) -> None:
    """It could not be sent."""
    _hear(tx, event, ReminderState.FAILED)


@handlers.on("telephony", "sms_uncertain")
def on_sms_uncertain(tx: Transaction, event: Event) -> None:
    """Nobody knows; a person decides."""
    _hear(tx, event, ReminderState.UNCERTAIN)


def _tell_approvers(tx: Transaction, event: Event, words: texts.Words) -> None:
    subject = Subject("approval", event.data["approvalId"])
    for person_id in event.data["approverIds"]:
        write_message(tx, event.id, person_id, "approval_waiting", subject, words)


def _tell_submitter(tx: Transaction, event: Event, *, passed: bool) -> None:
    data = event.data
    subject = Subject("approval", data["approvalId"])
    words = texts.approval_done(data["subjectType"], data["title"], data["comment"], passed=passed)
    write_message(tx, event.id, data["submitterId"], "approval_done", subject, words)


def _hear(tx: Transaction, event: Event, heard: ReminderState) -> None:
    hear_of_sms(tx, event.data["smsId"], heard, event.version, event.data["detail"])
