"""What leads takes from other services."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.leads.usecases.merges import follow_merge
from services.leads.usecases.opportunities import hear_of_order
from services.leads.usecases.staff import move_person, save_person

handlers = Handlers("leads")


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved or got other roles: what they own, and may take, is as it is now."""
    data = event.data
    save_person(
        tx, data["personId"], data.get("roles", []), data.get("regionDepartmentIds", []), event.version
    )
    move_person(tx, data["personId"], data["departmentPath"])


@handlers.on("orders", "order_changed")
def on_order_changed(tx: Transaction, event: Event) -> None:
    """An order moved: its lead is found by that (F133)."""
    data = event.data
    if data["opportunityId"]:
        hear_of_order(tx, data["opportunityId"], data["orderId"], data["state"], event.version)


@handlers.on("customers", "merge_asked")
def on_merge_asked(tx: Transaction, event: Event) -> None:
    """Two customers became one, or two again: their leads, opportunities and conversions follow."""
    data = event.data
    follow_merge(tx, data["mergeId"], data["survivorId"], data["mergedId"], undo=data["undo"])
    tx.emit(
        "merge_followed", data["mergeId"], event.version, {"mergeId": data["mergeId"], "undo": data["undo"]}
    )
