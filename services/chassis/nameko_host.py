"""Nameko's reliable handler: an event is handled once, retried with growing delays, or kept as a dead letter.

Each event is handled in one transaction together with its inbox row, and with what else waits in its queue; it is
acknowledged only after the commit. An error moves it, with a confirm, to a retry queue, and after the last try to
`<queue>.dead`; only then it is acknowledged. A crash anywhere leaves it in a queue. Imported only in a process that
`patch_for_nameko` prepared.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from kombu import Connection
from nameko.events import EventHandler
from nameko.exceptions import ContainerBeingKilled
from nameko.messaging import QueueConsumer
from nameko.runners import ServiceRunner

from services.chassis.amqp import (
    ATTEMPT_HEADER,
    ERROR_HEADER,
    RETRY_DELAYS_S,
    dead_queue,
    forward,
    handler_arguments,
    is_event,
    plain_and_tls,
    retry_queue,
)
from services.chassis.db import Store
from services.chassis.errors import AlreadyExists, AppError, NotFound
from services.chassis.events import Handler, Handlers, handle
from services.chassis.logging import get_logger
from services.chassis.metrics import EVENTS_HANDLED
from services.chassis.settings import QueueType

log = get_logger(__name__)

# Deliveries of one queue that share a transaction, at most: what they lock is locked until the last is done.
MOST_TOGETHER: Final = 20
# Workers that handle deliveries of one queue at a time: what comes meanwhile waits, and is handled together.
WORKERS_EACH: Final = 2


class _Consumer(QueueConsumer):  # type: ignore[misc]  # Nameko has no types
    """Nameko's consumer, which is given more of each queue than workers take one by one."""

    prefetch_count = WORKERS_EACH * MOST_TOGETHER


class ReliableEventHandler(EventHandler):  # type: ignore[misc]  # Nameko has no types
    """Nameko's event handler with retries and dead letters instead of loss."""

    queue_consumer = _Consumer()

    def setup(self) -> None:
        """Declare the queue as `migrate` does."""
        super().setup()
        kind = QueueType(self.container.config["AMQP_QUEUE_TYPE"])
        self.queue.queue_arguments = handler_arguments(self.queue.name, kind)
        # Deliveries that no worker has taken yet, in their order, and how many workers are at others.
        self._waiting: deque[Any] = deque()
        self._working = 0

    def handle_message(self, body: Any, message: Any) -> None:
        """Let a worker take a delivery, now or together with others."""
        self._waiting.append(message)
        self._begin()

    def _begin(self) -> None:
        """Begin to handle what waits, unless as many do as may; they go on with it."""
        if self._waiting and self._working < WORKERS_EACH:
            self._working += 1
            # A container that is being killed takes nothing; the broker gives back what nobody acknowledged.
            with suppress(ContainerBeingKilled):
                self.container.spawn_worker(self, (self.take,), {}, handle_result=self._settle_all)

    def take(self) -> list[Any]:
        """Return the deliveries to handle together; one that was given to somebody before is alone.

        That may have ended its process, and would end it again.
        """
        taken: list[Any] = []
        while self._waiting and len(taken) < MOST_TOGETHER:
            again = self._waiting[0].delivery_info.get("redelivered")
            if again and taken:
                break
            taken.append(self._waiting.popleft())
            if again:
                break
        return taken

    def _settle_all(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> tuple[Any, Any]:
        try:
            for message, error in result or ():
                self._settle(message, error)
        finally:
            self._working -= 1
            # Not by the worker that ends here, whose place another queue may want.
            self.container.spawn_managed_thread(self._begin)
        return result, exc_info

    def _settle(self, message: Any, error: Exception | None) -> None:
        """Acknowledge what was handled; move what was not, before it is acknowledged."""
        if error is None:
            self.queue_consumer.ack_message(message)
            return
        if isinstance(error, AlreadyExists):
            self._count("already_there")
            self.queue_consumer.ack_message(message)
            return
        attempt = int(message.headers.get(ATTEMPT_HEADER, 0))
        # A record may arrive by another queue a moment later, so NotFound is tried again as well.
        final = isinstance(error, AppError) and not error.retryable and not isinstance(error, NotFound)
        final = final or not is_event(message.payload) or attempt >= len(RETRY_DELAYS_S)
        target = (
            dead_queue(self.queue.name) if final else retry_queue(self.queue.name, RETRY_DELAYS_S[attempt])
        )
        try:
            self._move(message, target.name, attempt + 1, error)
        except Exception as broken:
            # The broker is gone: it gives the message again.
            log.warning("failed event could not be moved and stays", queue=self.queue.name, error=str(broken))
            self.queue_consumer.requeue_message(message)
            return
        self._count("dead" if final else "retried")
        log.warning(
            "event is dead" if final else "event will be tried again",
            queue=self.queue.name,
            attempt=attempt + 1,
            error=str(error),
            exc_info=None if isinstance(error, AppError) else error,
        )
        self.queue_consumer.ack_message(message)

    def _move(self, message: Any, queue: str, attempt: int, error: BaseException) -> None:
        with Connection(
            self.queue_consumer.amqp_uri,
            ssl=self.container.config.get("AMQP_SSL") or False,
            connect_timeout=5,
            transport_options={"confirm_publish": True},
        ) as connection:
            headers = {ATTEMPT_HEADER: attempt, ERROR_HEADER: str(error)[:500]}
            forward(connection.Producer(auto_declare=False), message, queue, headers)

    def _count(self, outcome: str) -> None:
        EVENTS_HANDLED.labels(self.container.service_name, self.event_type, outcome).inc()


def nameko_service(store: Store, handlers: Handlers) -> type:
    """Return the Nameko service class that hosts a service's handlers."""
    members: dict[str, Any] = {"name": handlers.service}
    for handler in handlers.all:

        def method(
            _self: object, take: Callable[[], list[Any]], *, _handler: Handler = handler
        ) -> list[tuple[Any, Exception | None]]:
            taken = take()
            errors = handle(store, _handler, [message.payload for message in taken])
            return list(zip(taken, errors, strict=True))

        method.__name__ = handler.name
        entrypoint = partial(ReliableEventHandler.decorator, handler.source, handler.event_type)
        members[handler.name] = entrypoint()(method)
    return type(f"{handlers.service.capitalize()}Events", (), members)


def run(
    hosted: Sequence[tuple[Store, Handlers]],
    amqp_url: str,
    ready: Callable[[], None] = lambda: None,
    kind: QueueType = QueueType.CLASSIC,
) -> int:
    """Host these services until SIGTERM, calling `ready` once they consume; return the exit status."""
    import signal

    import eventlet

    uri, tls = plain_and_tls(amqp_url)
    runner = ServiceRunner(
        config={
            "AMQP_URI": uri,
            "AMQP_QUEUE_TYPE": kind.value,
            **({"AMQP_SSL": tls} if tls else {}),
            "serializer": "json",
            "ACCEPT": ["json"],
            "max_workers": 6,
            "HEARTBEAT": 20,
        }
    )
    for store, handlers in hosted:
        runner.add_service(nameko_service(store, handlers))

    def stop(*_: object) -> None:
        # A signal handler may not switch greenlets: let the hub do it.
        eventlet.spawn_n(runner.stop)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    runner.start()
    ready()
    log.info("event handlers are consuming", services=[handlers.service for _, handlers in hosted])
    runner.wait()
    return 0
