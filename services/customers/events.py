"""What other services tell customers: decisions on registrations, calls, and who moved."""

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
    if event.data["customerId"]:
        add_call(
            tx,
            event.data["customerId"],
            event.time,
            answered=event.data["answered"],
            talk_s=event.data["talkSeconds"],
        )


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved: what they own is seen in the department of now."""
    move_person(tx, event.data["personId"], event.data["departmentPath"])
