"""What identity takes from other services: what they account for."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.chassis.settings import SERVICES
from services.identity.usecases import audit

handlers = Handlers("identity")

for _service in SERVICES:
    if _service != handlers.service:

        def _take(tx: Transaction, event: Event) -> None:
            audit.take(tx, event)

        # A handler's name is part of its queue's.
        _take.__name__ = f"on_{_service}_audited"
        handlers.on(_service, "audited")(_take)
