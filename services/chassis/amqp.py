"""RabbitMQ as the services use it: exchanges, queues, retry queues and dead letters.

Exchange `<service>.events` (topic, durable). For each handler a queue, its retry queues `<queue>.retry.<s>`
whose messages fall back into it after that many seconds, and `<queue>.dead` for what no retry can mend.
"""

import json
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from kombu import Connection, Exchange, Producer, Queue

from services.chassis.db import Event
from services.chassis.events import Handler

# Seconds between the tries of a message that failed; after the last it is dead.
RETRY_DELAYS_S = (1, 5, 15, 60, 300, 900)
# Header that counts the tries so far.
ATTEMPT_HEADER = "x-attempt"
# Header that says why a message is where it is.
ERROR_HEADER = "x-error"

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


def retry_queue(queue: str, delay_s: int) -> Queue:
    """Return the queue whose messages fall back into `queue` after `delay_s` seconds."""
    return Queue(
        f"{queue}.retry.{delay_s}",
        durable=True,
        queue_arguments={
            "x-message-ttl": delay_s * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
        },
    )


def dead_queue(queue: str) -> Queue:
    """Return the queue of what could not be handled."""
    return Queue(f"{queue}.dead", durable=True)


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


def declare(amqp_url: str, services: Iterable[str], entries: Iterable[Mapping[str, str]]) -> None:
    """Declare every service's exchange and every queue of the manifest; safe to repeat."""
    with connection_to(amqp_url) as connection:
        channel = connection.default_channel
        for service in services:
            event_exchange(service).bind(channel).declare()
        for entry in entries:
            source = entry["exchange"].removesuffix(".events")
            Queue(entry["queue"], event_exchange(source), entry["routing_key"], durable=True).bind(
                channel
            ).declare()
            for delay_s in RETRY_DELAYS_S:
                retry_queue(entry["queue"], delay_s).bind(channel).declare()
            dead_queue(entry["queue"]).bind(channel).declare()


class Publisher:
    """Publishes events with confirms over one connection; not thread-safe: one for each relay.

    An event that the manifest lists a consumer for must reach a queue; any other may vanish.
    """

    def __init__(self, amqp_url: str, entries: Iterable[Mapping[str, str]]) -> None:
        self._url = amqp_url
        self._consumed = {(entry["exchange"], entry["routing_key"]) for entry in entries}
        self._link: Any = None
        self._producer: Producer | None = None

    def publish(self, event: Mapping[str, Any]) -> None:
        """Publish an envelope and wait for the broker's confirm; raises any of kombu's errors."""
        exchange = event_exchange(event["source"])
        if self._producer is None:
            connection = connection_to(self._url, transport_options={"confirm_publish": True})
            self._link = connection.transport.establish_connection()
            self._producer = Producer(self._link.channel(), auto_declare=False)
        self._producer.publish(
            dict(event),
            exchange=exchange,
            routing_key=event["type"],
            serializer="json",
            delivery_mode=2,
            message_id=event["id"],
            mandatory=(exchange.name, event["type"]) in self._consumed,
            # A broker that neither confirms nor closes must not hold the relay for ever.
            confirm_timeout=10,
        )

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
