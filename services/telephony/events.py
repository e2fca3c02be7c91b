"""What telephony takes from other services."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.telephony.usecases import staff

handlers = Handlers("telephony")


@handlers.on("identity", "person_saved")
def take_person(tx: Transaction, event: Event) -> None:
    """Register the person's extension as a line of the tenant."""
    staff.save_person(tx, event.aggregate, event.version, event.data)
