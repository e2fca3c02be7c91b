"""What telephony takes from other services."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.telephony.usecases import missed, staff
from services.telephony.usecases.merges import follow_merge

handlers = Handlers("telephony")


@handlers.on("identity", "person_saved")
def take_person(tx: Transaction, event: Event) -> None:
    """Register the person's extension as a line of the tenant."""
    staff.save_person(tx, event.aggregate, event.version, event.data)


@handlers.on("customers", "evidence_asked")
def on_evidence_asked(tx: Transaction, event: Event) -> None:
    """Tell customers up to when it has heard of calls: while this lags, it takes nobody's customers back."""
    tx.emit("evidence_reported", event.aggregate, 0, {"throughTime": tx.told_through().isoformat()})


@handlers.on("telephony", "call_ended")
def on_call_ended(tx: Transaction, event: Event) -> None:
    """A call is over: its caller is to be called back, or was reached."""
    missed.take_ended_call(tx, event.data["callId"])


@handlers.on("customers", "customer_created")
def on_customer_created(tx: Transaction, event: Event) -> None:
    """Somebody owns a new customer: its calls are that person's to see."""
    staff.save_owner(tx, event.data["customerId"], event.data["ownerId"], event.version)


@handlers.on("customers", "merge_asked")
def on_merge_asked(tx: Transaction, event: Event) -> None:
    """Two customers became one, or two again: their calls and messages follow."""
    data = event.data
    follow_merge(tx, data["mergeId"], data["survivorId"], data["mergedId"], undo=data["undo"])
    tx.emit(
        "merge_followed", data["mergeId"], event.version, {"mergeId": data["mergeId"], "undo": data["undo"]}
    )


def _follow_owner(change: str) -> None:
    """Take another owner, or none, from the customers' event of that change."""

    def take(tx: Transaction, event: Event) -> None:
        staff.save_owner(tx, event.data["customerId"], event.data["toOwnerId"], event.version)

    # Its queue is named after it.
    take.__name__ = f"on_customer_{change}"
    handlers.on("customers", f"customer_{change}")(take)


for _change in (
    *("claimed", "returned", "reclaimed", "reclaim_reversed"),
    *("assigned", "transferred", "trashed", "restored", "merged", "unmerged"),
):
    _follow_owner(_change)
