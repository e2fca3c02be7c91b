"""What notify takes from other services: facts that somebody must hear of, and the fate of SMS."""

from datetime import datetime

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.notify.domain import texts
from services.notify.domain.notices import DeliveryState
from services.notify.domain.reminders import ReminderState
from services.notify.store.moves import MOVED
from services.notify.usecases import contacts, dealings, deliveries, follow_ups, settings
from services.notify.usecases.merges import follow_merge
from services.notify.usecases.messages import Subject, write_message
from services.notify.usecases.reminders import cancel_reminder_of, hear_of_sms, plan_reminder
from services.notify.usecases.tenants import name_tenant

handlers = Handlers("notify")

# Who has this right is an admin, as far as reports go.
ADMINS_RIGHT = "settings.manage"
# Who has this right decides on suspects.
REVIEWERS_RIGHT = "approvals.decide"


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
    if data.get("customerId"):
        dealings.note_order(tx, MOVED.current(tx, data["customerId"]), event.time)
    # F190: the admins hear of it too.
    for person_id in settings.people(tx, ADMINS_RIGHT):
        if person_id != data["ownerId"]:
            reported = texts.order_reported(data["number"], data["title"])
            write_message(tx, event.id, person_id, "order_generated", subject, reported)
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
    _note_owner(tx, event, "")


@handlers.on("leads", "lead_assigned")
def on_lead_assigned(tx: Transaction, event: Event) -> None:
    """Tell the owner, unless it was the owner who did it."""
    data = event.data
    if data["ownerId"] != event.actor_id:
        subject = Subject("lead", data["leadId"])
        words = texts.lead_assigned(data["name"])
        write_message(tx, event.id, data["ownerId"], "lead_assigned", subject, words)


@handlers.on("leads", "lead_reclaim_warned")
def on_lead_reclaim_warned(tx: Transaction, event: Event) -> None:
    """Tell the owner (F187): of a lead as of a customer."""
    data = event.data
    due_time = datetime.fromisoformat(data["reclaimDueTime"]) if data["reclaimDueTime"] else None
    words = texts.lead_reclaim_warned(data["name"], due_time)
    write_message(
        tx, event.id, data["ownerId"], "lead_reclaim_warned", Subject("lead", data["leadId"]), words
    )


@handlers.on("leads", "lead_reclaimed")
def on_lead_reclaimed(tx: Transaction, event: Event) -> None:
    """Tell who was the owner."""
    data = event.data
    words = texts.lead_reclaimed(data["name"])
    write_message(tx, event.id, data["fromOwnerId"], "lead_reclaimed", Subject("lead", data["leadId"]), words)


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Know who there is to tell."""
    settings.save_person(tx, event.aggregate, event.version, event.data)


@handlers.on("leads", "opportunity_won")
def on_opportunity_won(tx: Transaction, event: Event) -> None:
    """Tell the owner and the admins at once (F195)."""
    data = event.data
    subject = Subject("opportunity", data["opportunityId"])
    words = texts.opportunity_won(data["name"], data["amount"])
    for person_id in {data["ownerId"], *settings.people(tx, ADMINS_RIGHT)}:
        write_message(tx, event.id, person_id, "opportunity_won", subject, words)


@handlers.on("leads", "opportunity_lost")
def on_opportunity_lost(tx: Transaction, event: Event) -> None:
    """Tell owner and admins at once (F195)."""
    data = event.data
    subject = Subject("opportunity", data["opportunityId"])
    words = texts.opportunity_lost(data["name"], data["reason"])
    for person_id in {data["ownerId"], *settings.people(tx, ADMINS_RIGHT)}:
        write_message(tx, event.id, person_id, "opportunity_lost", subject, words)


@handlers.on("leads", "opportunity_transferred")
def on_opportunity_transferred(tx: Transaction, event: Event) -> None:
    """Tell the new owner of what is pending now (F194)."""
    data = event.data
    subject = Subject("opportunity", data["opportunityId"])
    words = texts.opportunity_transferred(data["name"], data["customerName"], data["fromName"])
    write_message(tx, event.id, data["ownerId"], "opportunity_transferred", subject, words)


@handlers.on("customers", "export_broken")
def on_export_broken(tx: Transaction, event: Event) -> None:
    """Tell whose export it was that its process died."""
    data = event.data
    words = texts.export_broken(data["rows"], datetime.fromisoformat(data["startTime"]))
    write_message(tx, event.id, data["personId"], "export_broken", Subject("export", data["exportId"]), words)


@handlers.on("customers", "follow_up_added")
def on_customer_follow_up(tx: Transaction, event: Event) -> None:
    """Learn the customer's cadence, and stop reminders that have their answer (F192, F193)."""
    data, time = event.data, datetime.fromisoformat(event.data["time"])
    follow_ups.note_follow_up(
        tx, data["customerId"], data["name"], data["ownerId"], text=data["text"], time=time
    )
    follow_ups.hear_of_follow_up(
        tx, "customer", data["customerId"], author_id=data["authorId"], text=data["text"], time=time
    )
    dealings.note_contact(tx, MOVED.current(tx, data["customerId"]), time)


@handlers.on("leads", "lead_followed_up")
def on_lead_follow_up(tx: Transaction, event: Event) -> None:
    """Stop reminders about the lead that have their answer (F192)."""
    data, time = event.data, datetime.fromisoformat(event.data["time"])
    follow_ups.hear_of_follow_up(
        tx, "lead", data["leadId"], author_id=data["authorId"], text=data["text"], time=time
    )


@handlers.on("customers", "customer_created")
def on_customer_created(tx: Transaction, event: Event) -> None:
    """Its owner hears when it orders nothing; one in a pool reminds nobody."""
    if event.data["ownerId"]:
        _note_owner(tx, event, event.data["ownerId"])


@handlers.on("customers", "customer_claimed")
def on_customer_claimed(tx: Transaction, event: Event) -> None:
    """Remind the new owner from now on."""
    _note_owner(tx, event, event.data["toOwnerId"])


@handlers.on("customers", "customer_returned")
def on_customer_returned(tx: Transaction, event: Event) -> None:
    """Remind nobody of a customer in a pool."""
    _note_owner(tx, event, "")


@handlers.on("customers", "customer_assigned")
def on_customer_assigned(tx: Transaction, event: Event) -> None:
    """It has an owner again."""
    _note_owner(tx, event, event.data["toOwnerId"])


@handlers.on("customers", "customer_transferred")
def on_customer_transferred(tx: Transaction, event: Event) -> None:
    """It has another owner, or none."""
    _note_owner(tx, event, event.data["toOwnerId"])


@handlers.on("customers", "customer_reclaim_reversed")
def on_customer_reclaim_reversed(tx: Transaction, event: Event) -> None:
    """Its owner has it back."""
    _note_owner(tx, event, event.data["toOwnerId"])


@handlers.on("customers", "customer_trashed")
def on_customer_trashed(tx: Transaction, event: Event) -> None:
    """Remind nobody of it."""
    _note_owner(tx, event, "")


@handlers.on("customers", "customer_merged")
def on_customer_merged(tx: Transaction, event: Event) -> None:
    """Another stands for it now."""
    _note_owner(tx, event, "")


@handlers.on("customers", "customer_unmerged")
def on_customer_unmerged(tx: Transaction, event: Event) -> None:
    """It is one of its own again."""
    _note_owner(tx, event, event.data["toOwnerId"])


@handlers.on("customers", "plan_made")
def on_plan_made(tx: Transaction, event: Event) -> None:
    """Put it on its person's list (F202)."""
    contacts.note_plan(tx, event.data, done=False)


@handlers.on("customers", "plan_completed")
def on_plan_completed(tx: Transaction, event: Event) -> None:
    """Take it off."""
    contacts.note_plan(tx, event.data, done=True)


@handlers.on("orders", "order_approved")
def on_order_approved(tx: Transaction, event: Event) -> None:
    """Something happened with the customer (F203)."""
    _note_contact(tx, event.data["customerId"], event.time)


@handlers.on("telephony", "call_ended")
def on_call_ended(tx: Transaction, event: Event) -> None:
    """A talk with a customer is something that happened."""
    if event.data["answered"]:
        _note_contact(tx, event.data["customerId"], datetime.fromisoformat(event.data["endTime"]))


@handlers.on("telephony", "sms_received")
def on_sms_received(tx: Transaction, event: Event) -> None:
    """Tell the owner what the customer answered."""
    data = event.data
    _note_contact(tx, data["customerId"], event.time)
    if data["ownerId"]:
        words = texts.customer_replied(data["customerName"], data["text"])
        subject = Subject("customer", data["customerId"])
        write_message(tx, event.id, data["ownerId"], "customer_replied", subject, words)


@handlers.on("telephony", "sms_bulk_done")
def on_sms_bulk_done(tx: Transaction, event: Event) -> None:
    """Tell the writer of a bulk SMS what became of it (F199)."""
    data = event.data
    words = texts.bulk_sms_done(
        data["name"], data["sent"], data["failed"], data["uncertain"], data["skipped"]
    )
    write_message(tx, event.id, data["personId"], "bulk_sms_done", Subject("bulk_sms", data["bulkId"]), words)


@handlers.on("telephony", "call_handed_over")
def on_call_handed_over(tx: Transaction, event: Event) -> None:
    """Tell who got the call."""
    data = event.data
    if data["toPersonId"] != data["fromPersonId"]:
        subject = Subject("call", data["callId"])
        words = texts.call_handed_over(data["fromName"], data["customerName"])
        write_message(tx, event.id, data["toPersonId"], "call_handed_over", subject, words)


@handlers.on("dedupe", "keys_refused")
def on_keys_refused(tx: Transaction, event: Event) -> None:
    """Tell both sides that two want the same customer (F170): each hears of the other, masked."""
    data = event.data
    sides = (
        (data["submitterId"], data["holderName"], texts.registration_refused),
        (data["holderId"], data["submitterName"], texts.registration_contested),
    )
    for person_id, other, words in sides:
        if person_id:
            subject = Subject("registration", data["reservationId"])
            write_message(
                tx, event.id, person_id, "registration_conflict", subject, words(data["name"], other)
            )


@handlers.on("dedupe", "suspect_raised")
def on_suspect_raised(tx: Transaction, event: Event) -> None:
    """Tell who recorded the inquiries and who may decide that different inquirers are perhaps one (F201)."""
    data = event.data
    subject = Subject("suspect", data["suspectId"])
    words = texts.suspect_raised(data["shared"])
    for person_id in sorted({*data["personIds"], *settings.people(tx, REVIEWERS_RIGHT)}):
        write_message(tx, event.id, person_id, "suspect_raised", subject, words)


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


@handlers.on("customers", "merge_asked")
def on_merge_asked(tx: Transaction, event: Event) -> None:
    """Two customers became one, or two again: reminders of them follow."""
    data = event.data
    follow_merge(tx, data["mergeId"], data["survivorId"], data["mergedId"], undo=data["undo"])
    tx.emit(
        "merge_followed", data["mergeId"], event.version, {"mergeId": data["mergeId"], "undo": data["undo"]}
    )


def _tell_approvers(tx: Transaction, event: Event, words: texts.Words) -> None:
    subject = Subject("approval", event.data["approvalId"])
    for person_id in event.data["approverIds"]:
        write_message(tx, event.id, person_id, "approval_waiting", subject, words)


def _tell_submitter(tx: Transaction, event: Event, *, passed: bool) -> None:
    data = event.data
    subject = Subject("approval", data["approvalId"])
    words = texts.approval_done(data["subjectType"], data["title"], data["comment"], passed=passed)
    write_message(tx, event.id, data["submitterId"], "approval_done", subject, words)


def _note_owner(tx: Transaction, event: Event, owner_id: str) -> None:
    """Remind the owner of now, and let the time without an order begin anew."""
    customer_id = event.data["customerId"]
    follow_ups.note_owner(tx, customer_id, owner_id, event.version)
    dealings.note_owner(tx, customer_id, event.data.get("name", ""), owner_id, event.version)


def _note_contact(tx: Transaction, customer_id: str, time: datetime) -> None:
    if customer_id:
        dealings.note_contact(tx, MOVED.current(tx, customer_id), time)


def _hear(tx: Transaction, event: Event, heard: ReminderState) -> None:
    data = event.data
    hear_of_sms(tx, data["smsId"], heard, event.version, data["detail"])
    deliveries.hear_of_sms(tx, data["smsId"], DeliveryState(heard.value), event.version, data["detail"])
