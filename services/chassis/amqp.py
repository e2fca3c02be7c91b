"""RabbitMQ as the services use it: exchanges, queues, retry queues and dead letters.

Exchange `<service>.events` (topic, durable). For each handler a queue, its retry queues `<queue>.retry.<s>`
whose messages fall back into it after that many seconds, and `<queue>.dead` for what no retry can mend. All are
classic, which live on one node, or quorum, which live on several and outlast the loss of one; see `queues` for the way
from one to the other.
"""

import json
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from amqp.exceptions import MessageNacked, PreconditionFailed
from kombu import Connection, Exchange, Producer, Queue

from services.chassis.db import Event
from services.chassis.events import Handler
from services.chassis.settings import QueueType, SettingsError

# Seconds between the tries of a message that failed; after the last it is dead.
RETRY_DELAYS_S = (1, 5, 15, 60, 300, 900)
# How long the broker may take to confirm what was published together, in seconds.
CONFIRM_S: Final = 10.0
# Header that counts the tries so far.
ATTEMPT_HEADER = "x-attempt"
# Header that says why a message is where it is.
ERROR_HEADER = "x-error"

# Deliveries of one message that ended with its consumer: a quorum queue puts it with the dead letters then, where
# RabbitMQ 4 would drop it after its own 20.
MOST_DELIVERIES: Final = 100

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "rabbitmq" / "queues.json"


# RabbitMQ's own port for TLS.
TLS_PORT = 5671


def plain_and_tls(amqp_url: str) -> tuple[str, dict[str, Any] | None]:
    """Return the URL as kombu and Nameko want it, and what goes with TLS: None without it.

    TLS is amqps://, with the PEM files `cafile` (absent: the machine's own CAs), and `certfile` and `keyfile` where the
    broker asks for a certificate, in the query, as the gateway's client has them too. Who answers is always verified.
    """
    parts = urlsplit(amqp_url)
    if parts.scheme != "amqps":
        return amqp_url, None
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    tls = {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": given.get("cafile"),
        "certfile": given.get("certfile"),
        "keyfile": given.get("keyfile"),
        "server_hostname": parts.hostname,
    }
    place = parts.netloc if parts.port else f"{parts.netloc}:{TLS_PORT}"
    return urlunsplit(("amqp", place, parts.path, "", "")), tls


def connection_to(amqp_url: str, **options: Any) -> Connection:
    """Return a connection, not yet open; options: kombu's."""
    url, tls = plain_and_tls(amqp_url)
    return Connection(url, ssl=tls or False, connect_timeout=5, **options)


def event_exchange(service: str) -> Exchange:
    """Return the exchange of a service's events, the same as Nameko declares."""
    return Exchange(f"{service}.events", type="topic", durable=True, auto_delete=False)


def handler_arguments(queue: str, kind: QueueType) -> dict[str, Any]:
    """Return the arguments of a handler's own queue."""
    if kind is QueueType.CLASSIC:
        return {}
    return _passed_on(f"{queue}.dead", kind) | {"x-delivery-limit": MOST_DELIVERIES}


def handler_queue(entry: Mapping[str, str], kind: QueueType = QueueType.CLASSIC) -> Queue:
    """Return a handler's own queue, as Nameko declares it."""
    exchange = event_exchange(entry["exchange"].removesuffix(".events"))
    return Queue(
        entry["queue"],
        exchange,
        entry["routing_key"],
        durable=True,
        queue_arguments=handler_arguments(entry["queue"], kind),
    )


def retry_queue(queue: str, delay_s: int, kind: QueueType = QueueType.CLASSIC) -> Queue:
    """Return the queue whose messages fall back into `queue` after `delay_s` seconds."""
    arguments = {"x-message-ttl": delay_s * 1000} | _passed_on(queue, kind)
    return Queue(f"{queue}.retry.{delay_s}", durable=True, queue_arguments=arguments)


def dead_queue(queue: str, kind: QueueType = QueueType.CLASSIC) -> Queue:
    """Return the queue of what could not be handled."""
    return Queue(f"{queue}.dead", durable=True, queue_arguments=_lives(kind))


def _lives(kind: QueueType) -> dict[str, Any]:
    # A classic one says nothing, as before there was a choice: RabbitMQ compares what is declared again.
    return {} if kind is QueueType.CLASSIC else {"x-queue-type": kind.value}


def _passed_on(queue: str, kind: QueueType) -> dict[str, Any]:
    """Return what lets a queue give its messages to another one in the end."""
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue} | _lives(kind)
    if kind is QueueType.QUORUM:
        # Between the nodes too, a message leaves only when the other queue has it.
        arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    return arguments


def manifest(handlers: Iterable[Handler]) -> list[dict[str, str]]:
    """Return the queues that the handlers need, sorted, as the committed manifest lists them."""
    return sorted(
        (
            {
                "exchange": f"{handler.source}.events",
                "routing_key": handler.event_type,
                "queue": handler.queue,
            }
            for handler in handlers
        ),
        key=lambda item: item["queue"],
    )


def read_manifest() -> list[dict[str, str]]:
    """Return the committed manifest."""
    entries: list[dict[str, str]] = json.loads(MANIFEST.read_text())
    return entries


def queues_of(entry: Mapping[str, str], kind: QueueType) -> list[Queue]:
    """Return a handler's queue, those of its retries and of its dead letters."""
    queue = entry["queue"]
    retries = [retry_queue(queue, delay_s, kind) for delay_s in RETRY_DELAYS_S]
    return [handler_queue(entry, kind), *retries, dead_queue(queue, kind)]


def declare(
    amqp_url: str,
    services: Iterable[str],
    entries: Iterable[Mapping[str, str]],
    kind: QueueType = QueueType.CLASSIC,
) -> None:
    """Declare every service's exchange and every queue of the manifest; safe to repeat.

    Raises SettingsError when the queues that are there live elsewhere.
    """
    with connection_to(amqp_url) as connection:
        channel = connection.default_channel
        for service in services:
            event_exchange(service).bind(channel).declare()
        try:
            for entry in entries:
                for queue in queues_of(entry, kind):
                    queue.bind(channel).declare()
        except PreconditionFailed as error:
            raise SettingsError(
                f"the queues are not {kind} yet: stop `events`, run `python -m services rebuild-queues` ({error})"
            ) from error


def forward(producer: Producer, message: Any, queue: str, headers: Mapping[str, Any]) -> None:
    """Put a message into another queue by its name, as it is but for its headers; raises when it did not arrive."""
    producer.publish(
        message.body,
        exchange="",
        routing_key=queue,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=2,
        mandatory=True,
        headers=dict(headers),
    )


def move_all(connection: Connection, source: str, target: str, *, as_they_are: bool = False) -> int:
    """Move the messages that a queue has now to another one; return how many.

    connection: with confirms. as_they_are: with their tries and errors, not from the first try on. A crash in between
    repeats one, and the inbox knows it.
    """
    kept = (ATTEMPT_HEADER, ERROR_HEADER) if as_they_are else ()
    moved = 0
    with connection.channel() as channel:
        queue = Queue(source).bind(channel)
        producer = connection.Producer(auto_declare=False)
        for _ in range(queue.queue_declare(passive=True).message_count):
            message = queue.get(no_ack=False)
            if message is None:
                break
            headers = {name: message.headers[name] for name in kept if name in message.headers}
            forward(producer, message, target, headers)
            # Acknowledged only after the confirm.
            message.ack()
            moved += 1
    return moved


class Publisher:
    """Publishes events with confirms over one connection; not thread-safe: one for each relay.

    An event that the manifest lists a consumer for must reach a queue; any other may vanish.
    """

    def __init__(self, amqp_url: str, entries: Iterable[Mapping[str, str]]) -> None:
        self._url = amqp_url
        self._consumed: dict[tuple[str, str], list[str]] = {}
        for entry in entries:
            queues = self._consumed.setdefault((entry["exchange"], entry["routing_key"]), [])
            queues.append(entry["queue"])
        self._link: Any = None
        self._producer: Producer | None = None
        # How many went out over this connection: the broker answers by number.
        self._published = 0
        # The place of each event that it has not answered yet, by number; and why it did not take one, by place.
        self._unanswered: dict[int, int] = {}
        self._refused: dict[int, Exception] = {}

    def publish(self, events: Sequence[Mapping[str, Any]]) -> list[Exception | None]:
        """Publish envelopes and wait for the broker's confirms; return for each why there was none.

        After an error `close` comes first.
        """
        places = {event["id"]: place for place, event in enumerate(events)}
        self._unanswered = dict(enumerate(range(len(events))))
        self._refused = {}
        try:
            producer = self._connected()
            producer.channel.events["basic_return"] = {partial(self._returned, places)}
            self._unanswered = dict(enumerate(range(len(events)), self._published + 1))
            for event in events:
                self._published += 1
                self._send(producer, event)
            # A broker that neither confirms nor closes must not hold the relay for ever.
            deadline = time.monotonic() + CONFIRM_S
            while self._unanswered:
                self._link.drain_events(timeout=max(0.0, deadline - time.monotonic()))
        except Exception as error:
            self._refused |= dict.fromkeys(self._unanswered.values(), error)
        return [self._refused.get(place) for place in range(len(events))]

    def longest_queue(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Return how many messages wait in the longest queue that takes such events; raises any of kombu's errors."""
        kinds = {(event_exchange(event["source"]).name, event["type"]) for event in events}
        queues = {queue for kind in kinds for queue in self._consumed.get(kind, ())}
        channel = self._connected().channel
        return max((channel.queue_declare(queue, passive=True).message_count for queue in queues), default=0)

    def _send(self, producer: Producer, event: Mapping[str, Any]) -> None:
        exchange = event_exchange(event["source"])
        producer.publish(
            dict(event),
            exchange=exchange,
            routing_key=event["type"],
            serializer="json",
            delivery_mode=2,
            message_id=event["id"],
            mandatory=(exchange.name, event["type"]) in self._consumed,
        )

    def _connected(self) -> Producer:
        if self._producer is None:
            self._link = connection_to(self._url).transport.establish_connection()
            channel = self._link.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._confirmed)
            channel.events["basic_nack"].add(self._rejected)
            self._producer, self._published = Producer(channel, auto_declare=False), 0
        return self._producer

    def _confirmed(self, tag: int, multiple: bool) -> None:
        self._answered(tag, multiple)

    def _rejected(self, tag: int, multiple: bool) -> None:
        for place in self._answered(tag, multiple):
            self._refused[place] = MessageNacked()

    def _returned(self, places: Mapping[str, int], why: Exception, *about: Any) -> None:
        """Note an event that reached no queue; the broker confirms it all the same."""
        self._refused[places[about[-1].properties["message_id"]]] = why

    def _answered(self, tag: int, multiple: bool) -> list[int]:
        """Return the places of the events that an answer is about."""
        tags = [known for known in self._unanswered if known == tag or (multiple and known < tag)]
        return [self._unanswered.pop(known) for known in tags]

    def close(self) -> None:
        """Drop the connection; the next publish opens another."""
        link, self._link, self._producer = self._link, None, None
        if link is not None:
            # Not close(): that says goodbye, and waits for an answer from a broker that may be gone.
            link.collect()


def is_event(body: object) -> bool:
    """Return whether a message body is an event envelope."""
    try:
        Event.from_json(body)  # type: ignore[arg-type]  # whatever came: that is the question
    except (KeyError, TypeError, ValueError):
        return False
    return True
