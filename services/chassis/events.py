"""Events from other services: plain functions, each in one transaction with its inbox row.

A service's events.py makes one `Handlers` and decorates functions `(tx, event) -> None`. The queues follow
from them; `python -m services migrate` declares what `deploy/rabbitmq/queues.json` lists, and a test keeps
that file and the handlers the same.

What waits in a queue at the same time may share a transaction, which saves most of what a small event costs: all have
their effects and their inbox rows or none has, and when one fails each is handled by itself.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from services.chassis.db import Event, Store, Transaction
from services.chassis.metrics import EVENTS_HANDLED
from services.chassis.tenancy import Tenant

EventFunction = Callable[[Transaction, Event], None]


@dataclass(frozen=True)
class Handler:
    """A function that takes the events of one type from one service, once each."""

    service: str
    source: str
    event_type: str
    function: EventFunction

    @property
    def name(self) -> str:
        """The function's name, unique in its service."""
        return self.function.__name__

    @property
    def queue(self) -> str:
        """The durable queue it reads, named as Nameko names them."""
        return f"evt-{self.source}-{self.event_type}--{self.service}.{self.name}"


class Handlers:
    """The events that a service takes."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.all: list[Handler] = []

    def on(self, source: str, event_type: str) -> Callable[[EventFunction], EventFunction]:
        """Register the decorated function for events of this type from `source`."""

        def register(function: EventFunction) -> EventFunction:
            self.all.append(Handler(self.service, source, event_type, function))
            return function

        return register


def handle(store: Store, handler: Handler, bodies: Sequence[Mapping[str, Any]]) -> list[Exception | None]:
    """Handle deliveries of one queue, in their order; return for each why it was not handled.

    A repeated one finds its inbox row and does nothing.
    """
    errors: list[Exception | None] = [None] * len(bodies)
    # By tenant: a transaction sees the rows of one.
    waiting: defaultdict[Tenant, list[tuple[int, Event]]] = defaultdict(list)
    for place, body in enumerate(bodies):
        try:
            event = Event.from_json(body)
            waiting[event.tenant].append((place, event))
        except Exception as error:
            errors[place] = error
    for placed in waiting.values():
        failed = _in_one(store, handler, [event for _, event in placed])
        for place, event in placed if failed else ():
            # Whose fault it is shows when each is alone.
            errors[place] = _in_one(store, handler, [event]) if len(placed) > 1 else failed
    return errors


def _in_one(store: Store, handler: Handler, events: Sequence[Event]) -> Exception | None:
    """Handle a tenant's events in one transaction; return why there was none."""
    try:
        with store.transaction(events[0].tenant, events[0].actor_id) as tx:
            fresh = left = tx.first_times(handler.name, [event.id for event in events])
            for event in events:
                if event.id in left:
                    left = left - {event.id}
                    structlog.contextvars.bind_contextvars(trace_id=event.trace_id, event_type=event.type)
                    tx.begin_another(event.actor_id, event.trace_id)
                    handler.function(tx, event)
    except Exception as error:
        return error
    counted = EVENTS_HANDLED.labels
    counted(handler.service, handler.event_type, "handled").inc(len(fresh))
    if repeated := len(events) - len(fresh):
        counted(handler.service, handler.event_type, "repeated").inc(repeated)
    return None
