"""Ask the writer of a reservation what became of it, and act on its word.

The writer answers "written", or records for good that it never will; so neither a crash nor a slow writer makes
dedupe free the keys of a record that exists.
"""

from typing import Protocol

from services.chassis.db import Store
from services.chassis.tenancy import Tenant
from services.dedupe.metrics import SETTLED
from services.dedupe.usecases.reservations import cancel, confirm


class Writer(Protocol):
    """Whoever writes the records that reservations are made for."""

    def has_written(self, tenant: Tenant, reservation_id: str) -> bool:
        """Tell whether the reservation's records exist; if not, they never will."""


def settle(store: Store, writer: Writer, tenant: Tenant, reservation_id: str) -> None:
    """Confirm or cancel a reservation by its writer's word; raises Unavailable when the writer does not answer."""
    written = writer.has_written(tenant, reservation_id)
    with store.transaction(tenant) as tx:
        if written:
            confirm(tx, reservation_id)
        else:
            cancel(tx, reservation_id)
    SETTLED.labels("confirmed" if written else "cancelled").inc()
