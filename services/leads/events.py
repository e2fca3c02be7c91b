"""What leads takes from other services."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.leads.usecases.staff import move_person

handlers = Handlers("leads")


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved: what they own is seen in the department of now."""
    move_person(tx, event.data["personId"], event.data["departmentPath"])
