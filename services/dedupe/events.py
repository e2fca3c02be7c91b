"""What customers wrote or rejected: its reservation is confirmed, or its keys are given back."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.dedupe.usecases.reservations import cancel, confirm

handlers = Handlers("dedupe")


@handlers.on("customers", "customer_created")
def confirm_customer(tx: Transaction, event: Event) -> None:
    """A customer exists, with the contacts that came along."""
    _confirm(tx, event)


@handlers.on("customers", "contact_created")
def confirm_contact(tx: Transaction, event: Event) -> None:
    """A contact of an existing customer exists."""
    _confirm(tx, event)


@handlers.on("customers", "registration_passed")
def confirm_registration(tx: Transaction, event: Event) -> None:
    """A pending registration became a customer."""
    _confirm(tx, event)


@handlers.on("customers", "registration_rejected")
def free_registration(tx: Transaction, event: Event) -> None:
    """A pending registration was rejected: its keys are free again (O3)."""
    if event.data["reservationId"]:
        cancel(tx, event.data["reservationId"])


def _confirm(tx: Transaction, event: Event) -> None:
    if event.data["reservationId"]:
        confirm(tx, event.data["reservationId"])
