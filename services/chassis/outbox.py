"""The relay: delivers what transactions left in the outbox, at least once, in order by aggregate.

One thread for each database and lane, in every process that has a gRPC server or an edge. A shard is delivered by one
relay at a time under an advisory lock, and a row is deleted only after RabbitMQ confirmed it or Temporal took
it. A crash in between delivers it again: receivers keep an inbox, workflow ids are deterministic. A row that
cannot be delivered stops its shard, not the others, and is tried again with a growing delay.
"""

import random
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

import psycopg
from sqlalchemy import Connection, delete, func, select, text, update

from services.chassis.db import Store, outbox_channel
from services.chassis.logging import get_logger
from services.chassis.metrics import OUTBOX_AGE, OUTBOX_DELIVERED, OUTBOX_DEPTH, OUTBOX_FAILED

log = get_logger(__name__)

# Without a NOTIFY the outbox is looked at this often, in seconds: rows whose delivery failed, a lost connection.
SWEEP_S = 1.0
# Rows delivered in one transaction.
BATCH = 200
# Longest delay between tries of a row, in seconds.
LONGEST_DELAY_S = 60


class Destination(Protocol):
    """Where rows of a lane go: RabbitMQ or Temporal."""

    def deliver(self, kind: str, body: Mapping[str, Any]) -> None:
        """Deliver one row and wait for the receiver's word; raises when it did not take it."""

    def reset(self) -> None:
        """Drop connections: after a failure, and at the end."""


class Relay:
    """Delivers one lane of a service's outbox in one database; a lane that is down holds up no other."""

    def __init__(self, store: Store, database: str, lane: str, destination: Destination) -> None:
        self._store = store
        self._database = database
        self._lane = lane
        self._destination = destination
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"relay-{store.service}-{database}-{lane}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch at hand; returns when the thread has ended."""
        self._stop.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        try:
            self._stay_connected()
        finally:
            self._destination.reset()

    def _stay_connected(self) -> None:
        url = self._store.urls[self._database]
        down = False
        while not self._stop.is_set():
            try:
                with psycopg.connect(
                    url, autocommit=True, application_name=f"{self._store.service}-relay"
                ) as listen:
                    listen.execute(f'LISTEN "{outbox_channel(self._store.service, self._lane)}"')
                    if down:
                        log.info("outbox relay is back", database=self._database)
                        down = False
                    self._follow(listen)
            except (psycopg.Error, OSError) as error:
                if not down:
                    log.warning("outbox relay lost its database", database=self._database, error=str(error))
                    down = True
                self._stop.wait(1 + random.random())  # noqa: S311 - jitter, not a secret

    def _follow(self, listen: psycopg.Connection) -> None:
        swept = 0.0
        while not self._stop.is_set():
            try:
                self.drain()
            except Exception:
                # Nothing is lost: the rows are there. The next sweep tries again.
                log.exception("outbox relay could not read", database=self._database)
                self._stop.wait(1)
            if time.monotonic() - swept > 15:
                self._measure()
                swept = time.monotonic()
            for _ in listen.notifies(timeout=SWEEP_S, stop_after=1):
                pass

    def drain(self) -> int:
        """Deliver all that is due now; return how many rows."""
        outbox = self._store.tables["outbox"]
        total = 0
        while not self._stop.is_set():
            with self._store.engine(self._database).connect() as connection:
                shards = connection.scalars(
                    select(outbox.c.shard)
                    .where(outbox.c.lane == self._lane)
                    .group_by(outbox.c.shard)
                    .order_by(func.min(outbox.c.id))
                ).all()
                connection.rollback()
                delivered = sum(self._drain_shard(connection, shard) for shard in shards)
            total += delivered
            if delivered == 0:
                break
        return total

    def _drain_shard(self, connection: Connection, shard: int) -> int:
        outbox = self._store.tables["outbox"]
        with connection.begin():
            # A lost delete only repeats a delivery, so the commit need not wait for the disk.
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            locked = connection.execute(
                text("SELECT pg_try_advisory_xact_lock(hashtext(:name), :shard)"),
                {"name": f"{self._store.service}.{self._lane}", "shard": shard},
            ).scalar_one()
            if not locked:
                return 0
            rows = connection.execute(
                select(outbox)
                .where(outbox.c.lane == self._lane, outbox.c.shard == shard)
                .order_by(outbox.c.id)
                .limit(BATCH)
            ).all()
            done: list[int] = []
            for row in rows:
                # The head of a shard that waits for its next try holds up the rows behind it: that keeps order.
                if row.next_attempt_time and row.next_attempt_time.timestamp() > time.time():
                    break
                try:
                    self._destination.deliver(row.kind, row.body)
                except Exception as error:
                    self._postpone(connection, row.id, row.attempts, row.kind, error)
                    self._destination.reset()
                    break
                done.append(row.id)
                OUTBOX_DELIVERED.labels(self._store.service, row.kind).inc()
            if done:
                connection.execute(delete(outbox).where(outbox.c.id.in_(done)))
            return len(done)

    def _postpone(
        self, connection: Connection, row_id: int, attempts: int, kind: str, error: Exception
    ) -> None:
        outbox = self._store.tables["outbox"]
        delay_s = min(LONGEST_DELAY_S, 0.5 * 2 ** min(attempts, 10)) * (0.75 + random.random() / 2)  # noqa: S311
        connection.execute(
            update(outbox)
            .where(outbox.c.id == row_id)
            .values(
                attempts=outbox.c.attempts + 1,
                next_attempt_time=func.clock_timestamp() + text(f"interval '{delay_s:.3f} seconds'"),
            )
        )
        OUTBOX_FAILED.labels(self._store.service, kind).inc()
        if attempts == 0:
            log.warning(
                "outbox row could not be delivered and waits", kind=kind, row_id=row_id, error=str(error)
            )

    def _measure(self) -> None:
        outbox = self._store.tables["outbox"]
        age = func.extract("epoch", func.clock_timestamp() - func.min(outbox.c.create_time))
        with self._store.engine(self._database).connect() as connection:
            depth, oldest_s = connection.execute(
                select(func.count(), func.coalesce(age, 0)).where(outbox.c.lane == self._lane)
            ).one()
        OUTBOX_DEPTH.labels(self._store.service, self._database, self._lane).set(depth)
        OUTBOX_AGE.labels(self._store.service, self._database, self._lane).set(float(oldest_s))


class EventDestination:
    """The amqp lane: events go to RabbitMQ."""

    def __init__(self, publisher: "PublishesEvents") -> None:
        self._publisher = publisher

    def deliver(self, kind: str, body: Mapping[str, Any]) -> None:
        """Publish the envelope."""
        self._publisher.publish(body)

    def reset(self) -> None:
        """Reconnect before the next one."""
        self._publisher.close()


class PublishesEvents(Protocol):
    """What the amqp lane needs of a publisher."""

    def publish(self, event: Mapping[str, Any]) -> None:
        """Publish and wait for the confirm."""

    def close(self) -> None:
        """Drop the connection."""
