"""What other services tell customers: decisions on registrations, calls, and who moved."""

from datetime import datetime

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.customers.usecases.care import add_call
from services.customers.usecases.registrations import pass_registration, reject_registration
from services.customers.usecases.staff import move_person

handlers = Handlers("customers")

# Subject of the approvals that concern us.
REGISTRATION = "registration"


@handlers.on("approvals", "approval_passed")
def on_approval_passed(tx: Transaction, event: Event) -> None:
    """A registration has passed: it becomes a customer."""
    if event.data["subjectType"] == REGISTRATION:
        pass_registration(tx, event.data["subjectId"])


@handlers.on("approvals", "approval_rejected")
def on_approval_rejected(tx: Transaction, event: Event) -> None:
    """A registration was rejected: it never becomes a customer."""
    if event.data["subjectType"] == REGISTRATION:
        reject_registration(tx, event.data["subjectId"])


@handlers.on("telephony", "call_ended")
def on_call_ended(tx: Transaction, event: Event) -> None:
    """A call of a known customer has ended: a connected one is evidence of work."""
    _take_call(tx, event)


@handlers.on("telephony", "call_linked")
def on_call_linked(tx: Transaction, event: Event) -> None:
    """Whose call it was became known after its end: evidence of when it was, not of now."""
    _take_call(tx, event)


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved: what they own is seen in the department of now."""
    move_person(tx, event.data["personId"], event.data["departmentPath"])


def _take_call(tx: Transaction, event: Event) -> None:
    data = event.data
    if data["customerId"]:
        add_call(
            tx,
            data["customerId"],
            datetime.fromisoformat(data["endTime"]),
            answered=data["answered"],
            talk_s=data["talkSeconds"],
        )
