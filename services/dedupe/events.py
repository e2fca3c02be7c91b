"""What customers wrote or rejected: its reservation is confirmed, or its keys are given back. And where people work."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.dedupe.usecases.matching import note_owner
from services.dedupe.usecases.merges import follow_merge
from services.dedupe.usecases.reservations import cancel, confirm
from services.dedupe.usecases.sight import save_person

handlers = Handlers("dedupe")


@handlers.on("customers", "customer_created")
def confirm_customer(tx: Transaction, event: Event) -> None:
    """A customer exists, with the contacts that came along."""
    _confirm(tx, event)
    note_owner(tx, event.aggregate, event.data.get("ownerId", ""), event.version)


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


@handlers.on("customers", "customer_claimed")
def note_claim(tx: Transaction, event: Event) -> None:
    """Somebody owns it now: who may see it in a check changes."""
    note_owner(tx, event.aggregate, event.data["toOwnerId"], event.version)


@handlers.on("customers", "customer_returned")
def note_return(tx: Transaction, event: Event) -> None:
    """Nobody owns it any more."""
    note_owner(tx, event.aggregate, event.data["toOwnerId"], event.version)


@handlers.on("customers", "customer_reclaimed")
def note_reclaim(tx: Transaction, event: Event) -> None:
    """Nobody owns it any more."""
    note_owner(tx, event.aggregate, event.data["toOwnerId"], event.version)


@handlers.on("customers", "customer_assigned")
def note_assignment(tx: Transaction, event: Event) -> None:
    """Somebody got it."""
    note_owner(tx, event.aggregate, event.data["toOwnerId"], event.version)


@handlers.on("customers", "customer_transferred")
def note_transfer(tx: Transaction, event: Event) -> None:
    """Somebody else has it."""
    note_owner(tx, event.aggregate, event.data["toOwnerId"], event.version)


@handlers.on("customers", "customer_unmerged")
def note_undone_merge(tx: Transaction, event: Event) -> None:
    """It is there again, with its owner or in a pool."""
    note_owner(tx, event.aggregate, event.data["toOwnerId"], event.version)


@handlers.on("customers", "customer_reclaim_reversed")
def note_reversal(tx: Transaction, event: Event) -> None:
    """Its owner has it back."""
    note_owner(tx, event.aggregate, event.data["toOwnerId"], event.version)


@handlers.on("customers", "merge_asked")
def on_merge_asked(tx: Transaction, event: Event) -> None:
    """Two customers became one, or two again: keys and match records follow."""
    data = event.data
    follow_merge(tx, data["mergeId"], data["survivorId"], data["mergedId"], undo=data["undo"])
    tx.emit(
        "merge_followed", data["mergeId"], event.version, {"mergeId": data["mergeId"], "undo": data["undo"]}
    )


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved: who sees the own customers in a check changes."""
    save_person(tx, event.data["personId"], event.data["departmentPath"], event.version)


def _confirm(tx: Transaction, event: Event) -> None:
    if event.data["reservationId"]:
        confirm(tx, event.data["reservationId"])
