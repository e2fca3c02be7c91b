"""Events from other services: plain functions, each in one transaction with its inbox row.

A service's events.py makes one `Handlers` and decorates functions `(tx, event) -> None`. The queues follow
from them; `python -m services migrate` declares what `deploy/rabbitmq/queues.json` lists, and a test keeps
that file and the handlers the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

from services.chassis.db import Event, Transaction

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
