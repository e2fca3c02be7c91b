"""Let queues live elsewhere under the same names: classic ones become quorum queues, or the other way round.

RabbitMQ changes no queue's type, so each is made anew: `python -m services rebuild-queues`, with AMQP_QUEUE_TYPE as it
shall be and `events` stopped; everything else goes on. Guarantees: at every moment a queue is bound that takes what is
published, and no message is in none; one may be in two after a crash, which the inboxes know. Run again it goes on.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Final

from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Connection, Queue

from services.chassis.amqp import (
    RETRY_DELAYS_S,
    connection_to,
    dead_queue,
    handler_queue,
    move_all,
    queues_of,
    retry_queue,
)
from services.chassis.settings import QueueType, SettingsError

# A queue that nothing leads to any more is looked at so often, so far apart in seconds.
QUIET_LOOKS: Final = 2
LOOK_S: Final = 0.02


def rebuild(amqp_url: str, entries: Iterable[Mapping[str, str]], kind: QueueType) -> int:
    """Make every queue of the manifest one of this type; return how many handlers' queues were another.

    Raises SettingsError while somebody consumes.
    """
    rebuilt = 0
    with connection_to(amqp_url, transport_options={"confirm_publish": True}) as connection:
        for entry in entries:
            own = handler_queue(entry, kind)
            if all(_is_so(connection, each) for each in queues_of(entry, kind)) and not (
                _exists(connection, _waiting(own.name))
                or _exists(connection, _waiting(dead_queue(own.name).name))
            ):
                continue
            if _consumers(connection, own.name):
                raise SettingsError(f"{own.name} is consumed: stop `events` first")
            # What waits for its next try is tried next: its queue must not fall into one that is just not there.
            for delay_s in RETRY_DELAYS_S:
                retry = retry_queue(own.name, delay_s, kind)
                if not _is_so(connection, retry):
                    _empty(connection, retry.name, own.name)
                    _is_so(connection, retry)
            _rebuild(connection, own)
            _rebuild(connection, dead_queue(own.name, kind))
            rebuilt += 1
    return rebuilt


def _rebuild(connection: Connection, queue: Queue) -> None:
    """Let another queue take the messages and what is published, until this one is there anew."""
    waiting = Queue(
        _waiting(queue.name), queue.exchange, queue.routing_key, durable=True, queue_arguments=_kind_of(queue)
    )
    with connection.channel() as channel:
        waiting.bind(channel).declare()
    if not _is_so(connection, queue):
        _unbind(connection, queue)
        _empty(connection, queue.name, waiting.name)
        _is_so(connection, queue)
    _unbind(connection, waiting)
    _empty(connection, waiting.name, queue.name)


def _unbind(connection: Connection, queue: Queue) -> None:
    # Retries and dead letters are bound to nothing but their names.
    if queue.routing_key:
        with connection.channel() as channel:
            channel.queue_unbind(queue.name, queue.exchange.name, queue.routing_key)


def _empty(connection: Connection, source: str, target: str) -> None:
    """Move all messages and delete the queue; nothing leads to it any more."""
    for _ in range(QUIET_LOOKS):
        while move_all(connection, source, target, as_they_are=True):
            pass
        # What was routed a moment ago may still be on its way into it.
        time.sleep(LOOK_S)
    with connection.channel() as channel:
        if channel.queue_declare(source, passive=True).consumer_count:
            raise SettingsError(f"{source} is consumed: stop `events` first")
        # Quorum queues know neither if-empty nor if-unused.
        channel.queue_delete(source)


def _waiting(queue: str) -> str:
    return f"{queue}.rebuilt"


def _kind_of(queue: Queue) -> dict[str, object]:
    arguments = queue.queue_arguments or {}
    return {name: arguments[name] for name in ("x-queue-type",) if name in arguments}


def _is_so(connection: Connection, queue: Queue) -> bool:
    """Declare a queue; false when one of this name is there and another."""
    try:
        with connection.channel() as channel:
            queue.bind(channel).declare()
    except PreconditionFailed:
        return False
    return True


def _exists(connection: Connection, queue: str) -> bool:
    try:
        with connection.channel() as channel:
            channel.queue_declare(queue, passive=True)
    except NotFound:
        return False
    return True


def _consumers(connection: Connection, queue: str) -> int:
    with connection.channel() as channel:
        consumers: int = channel.queue_declare(queue, passive=True).consumer_count
    return consumers
