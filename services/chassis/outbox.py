"""The relay: delivers what transactions left in the outbox, at least once, in order by aggregate.

A relay for each database and lane runs in every process that has a gRPC server or an edge; one of them is
active, by an advisory lock of the very session that reads and deletes, and the others stand by. A row is deleted
only after RabbitMQ confirmed it or Temporal took it. A crash in between delivers it again: receivers keep an
inbox, workflow ids are deterministic. One row of each shard is under way at a time, all of them together. A row that
cannot be delivered stops its shard, not the others, and is tried again with a growing delay. An active relay that is
frozen is put out by one that stands by.

No tenant crowds out another: who has much to tell, such as an import, waits in the outbox while receivers have enough,
and the others' rows go before. So neither the outbox nor a queue has a long line that somebody has to stand in.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row

from services.chassis.db import Store, outbox_channel
from services.chassis.housekeeping import prune
from services.chassis.locks import KEEPALIVE, LOCK, PATIENCE
from services.chassis.logging import get_logger
from services.chassis.metrics import OUTBOX_AGE, OUTBOX_DELIVERED, OUTBOX_DEPTH, OUTBOX_FAILED
from services.chassis.walls import EVERY_TENANT_OPTIONS

log = get_logger(__name__)

# Without a NOTIFY the outbox is looked at this often, in seconds: rows whose delivery failed, a lost connection.
SWEEP_S: Final = 1.0
# How often a relay that stands by asks for the lock, in seconds.
STAND_BY_S: Final = 1.0
# Longer than any delivery takes, in seconds.
SILENCE_S: Final = 30.0
# Deletes are gathered for this long, in seconds: rows delivered but not deleted would come again after a crash.
DELETE_S: Final = 1.0
# Rows read at once.
BATCH: Final = 200
# Who has more than this of a full batch crowds the others out.
CROWD: Final = BATCH // 4
# Events that wait in a queue before a crowd's next ones wait in the outbox: more than handlers take in a second.
LONG_QUEUE: Final = 1000
# Longest delay between tries of a row, in seconds.
LONGEST_DELAY_S: Final = 60
# How often depth and age are measured, in seconds.
MEASURE_S: Final = 15.0
# How often the active relay of events forgets what no repeat can ask for, in seconds.
PRUNE_S: Final = 3600.0

# A lost delete only repeats a delivery, so a commit need not wait for the disk.
OPTIONS: Final = f"-c synchronous_commit=off {KEEPALIVE} {EVERY_TENANT_OPTIONS}"

# The two halves of the lock's key are how pg_locks shows it.
PUT_OUT_THE_SILENT: Final = """
SELECT pg_terminate_backend(activity.pid)
FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (held.classid::bigint << 32) | held.objid::bigint = hashtextextended(%s, 0)
  AND activity.state = 'idle' AND activity.state_change < clock_timestamp() - make_interval(secs => %s)
"""


# What a row is, and what it says.
Delivery = tuple[str, Mapping[str, Any]]


class Destination(Protocol):
    """Where rows of a lane go: RabbitMQ or Temporal."""

    def deliver(self, rows: Sequence[Delivery]) -> Sequence[BaseException | None]:
        """Deliver rows, of which none has to wait for another, and wait for the receiver's word on each.

        Returns for each row why the receiver did not take it, None where it did.
        """

    def has_enough(self, bodies: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether those who get these rows have as much before them as others should have to wait for."""

    def reset(self) -> None:
        """Drop connections: after a failure, and at the end."""


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    tenant_id: UUID
    shard: int
    kind: str
    body: Mapping[str, Any]
    attempts: int
    next_attempt_time: datetime | None


class Relay:
    """Delivers one lane of a service's outbox in one database; a lane that is down holds up no other.

    patience_s: wait before the first bid for the lock, so that a process with time to spare gets it. silence_s: an
    active relay that asked its database nothing for this long is frozen.
    """

    def __init__(
        self,
        store: Store,
        database: str,
        lane: str,
        destination: Destination,
        patience_s: float = 0.0,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._store = store
        self._database = database
        self._lane = lane
        self._destination = destination
        self._patience_s = patience_s
        self._silence_s = silence_s
        self._name = f"{store.service}.outbox.{lane}"
        self._outbox = sql.Identifier(store.service, "outbox")
        # Until when the head of a shard waits for its next try, in seconds since the epoch.
        self._waiting: dict[int, float] = {}
        # Tenants whose rows wait because receivers have enough of them.
        self._held: list[UUID] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"relay-{store.service}-{database}-{lane}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the rows under way; returns when the thread has ended."""
        self._stop.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        try:
            self._stop.wait(self._patience_s)
            self._stay_connected()
        finally:
            self._destination.reset()

    def _stay_connected(self) -> None:
        url = make_conninfo(self._store.urls[self._database], **PATIENCE)
        down = False
        while not self._stop.is_set():
            try:
                with psycopg.connect(
                    url, autocommit=True, application_name=f"{self._store.service}-relay", options=OPTIONS
                ) as connection:
                    if down:
                        log.info("outbox relay is back", database=self._database)
                        down = False
                    if self._stand_by(connection):
                        self._follow(connection)
            except (psycopg.Error, OSError) as error:
                if not down:
                    log.warning("outbox relay lost its database", database=self._database, error=str(error))
                    down = True
                self._stop.wait(1 + random.random())  # noqa: S311 - jitter, not a secret

    def _stand_by(self, connection: psycopg.Connection) -> bool:
        """Wait until this relay is the active one; false when it was stopped before."""
        while not self._stop.is_set():
            row = connection.execute(LOCK, (self._name,)).fetchone()
            if row and row[0]:
                return True
            if connection.execute(PUT_OUT_THE_SILENT, (self._name, self._silence_s)).rowcount:
                log.error(
                    "the active relay was frozen and is put out", lane=self._lane, database=self._database
                )
            self._stop.wait(STAND_BY_S)
        return False

    def _follow(self, connection: psycopg.Connection) -> None:
        channel = sql.Identifier(outbox_channel(self._store.service, self._lane))
        connection.execute(sql.SQL("LISTEN {}").format(channel))
        self._waiting.clear()
        measured, pruned = -MEASURE_S, -PRUNE_S
        try:
            while not self._stop.is_set():
                while self._deliver_due(connection):
                    pass
                if time.monotonic() - measured > MEASURE_S:
                    self._measure(connection)
                    measured = time.monotonic()
                if self._lane == "amqp" and time.monotonic() - pruned > PRUNE_S:
                    prune(connection, self._store.service)
                    pruned = time.monotonic()
                for _ in connection.notifies(timeout=SWEEP_S, stop_after=1):
                    pass
        finally:
            # Whoever is active now measures.
            for gauge in (OUTBOX_DEPTH, OUTBOX_AGE):
                with suppress(KeyError):
                    gauge.remove(self._store.service, self._database, self._lane)

    def _deliver_due(self, connection: psycopg.Connection) -> int:
        """Deliver a batch of what is due now; return how many rows were."""
        now = time.time()
        self._waiting = {shard: until for shard, until in self._waiting.items() if until > now}
        rows = self._fairly(connection, self._read(connection))
        delivered, done = 0, list[int]()
        flushed = time.monotonic()
        for abreast in _abreast(rows):
            if self._stop.is_set():
                break
            taken = self._deliver(connection, [row for row in abreast if self._is_due(row, now)])
            done += taken
            delivered += len(taken)
            if time.monotonic() - flushed > DELETE_S:
                self._delete(connection, done)
                done, flushed = [], time.monotonic()
        self._delete(connection, done)
        return delivered

    def _is_due(self, row: _Row, now: float) -> bool:
        """Tell whether it is a row's turn; the head of a shard that waits for its next try holds up those behind it."""
        if row.next_attempt_time and row.next_attempt_time.timestamp() > now:
            self._waiting.setdefault(row.shard, row.next_attempt_time.timestamp())
        return row.shard not in self._waiting

    def _deliver(self, connection: psycopg.Connection, rows: Sequence[_Row]) -> list[int]:
        """Deliver rows of different shards together; return the ids of those that were taken."""
        if not rows:
            return []
        taken: list[int] = []
        refused: list[tuple[_Row, BaseException]] = []
        answers = self._destination.deliver([(row.kind, row.body) for row in rows])
        for row, error in zip(rows, answers, strict=True):
            if error is None:
                taken.append(row.id)
                OUTBOX_DELIVERED.labels(self._store.service, row.kind).inc()
            else:
                refused.append((row, error))
        if refused:
            self._destination.reset()
        for row, error in refused:
            # One that breaks the connection takes the others along: each shows by itself whose fault it is.
            if len(rows) > 1:
                taken += self._deliver(connection, [row])
            else:
                self._postpone(connection, row, error)
        return taken

    def _read(self, connection: psycopg.Connection, besides: Sequence[UUID] = ()) -> list[_Row]:
        """Read a batch of what comes first, besides that of some tenants."""
        query = sql.SQL(
            "SELECT id, tenant_id, shard, kind, body, attempts, next_attempt_time FROM {}"
            " WHERE lane = %s AND shard <> ALL(%s) AND tenant_id <> ALL(%s::uuid[]) ORDER BY id LIMIT %s"
        ).format(self._outbox)
        cursor = connection.cursor(row_factory=class_row(_Row))
        return cursor.execute(query, (self._lane, list(self._waiting), list(besides), BATCH)).fetchall()

    def _fairly(self, connection: psycopg.Connection, rows: list[_Row]) -> list[_Row]:
        """Return a full batch with the others' rows before those of who crowds them out.

        A tenant's own rows keep their order, and with it each aggregate's.
        """
        self._held = []
        if len(rows) < BATCH:
            return rows
        counts = Counter(row.tenant_id for row in rows)
        crowd = [tenant_id for tenant_id, count in counts.items() if count > CROWD]
        if not crowd:
            return rows
        others = self._read(connection, besides=crowd)
        theirs = [row for row in rows if row.tenant_id in crowd]
        try:
            held = self._destination.has_enough([row.body for row in theirs])
        except Exception:
            # Whoever cannot be asked cannot be told either: the delivery finds out, and waits.
            self._destination.reset()
            held = False
        self._held = crowd if held else []
        return others if held else others + theirs

    def _delete(self, connection: psycopg.Connection, done: Sequence[int]) -> None:
        if done:
            query = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self._outbox)
            connection.execute(query, (list(done),))

    def _postpone(self, connection: psycopg.Connection, row: _Row, error: BaseException) -> None:
        delay_s = min(LONGEST_DELAY_S, 0.5 * 2 ** min(row.attempts, 10)) * (0.75 + random.random() / 2)  # noqa: S311  # no secret
        self._waiting[row.shard] = time.time() + delay_s
        query = sql.SQL(
            "UPDATE {} SET attempts = attempts + 1,"
            " next_attempt_time = clock_timestamp() + make_interval(secs => %s) WHERE id = %s"
        ).format(self._outbox)
        connection.execute(query, (delay_s, row.id))
        OUTBOX_FAILED.labels(self._store.service, row.kind).inc()
        if row.attempts == 0:
            log.warning(
                "outbox row could not be delivered and waits", kind=row.kind, row_id=row.id, error=str(error)
            )

    def _measure(self, connection: psycopg.Connection) -> None:
        # What waits for its receivers is not old: nothing is wrong with its way.
        query = sql.SQL(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp()"
            " - min(create_time) FILTER (WHERE tenant_id <> ALL(%s::uuid[]))), 0) FROM {} WHERE lane = %s"
        ).format(self._outbox)
        depth, oldest_s = connection.execute(query, (self._held, self._lane)).fetchone() or (0, 0.0)
        labels = (self._store.service, self._database, self._lane)
        OUTBOX_DEPTH.labels(*labels).set(depth)
        OUTBOX_AGE.labels(*labels).set(float(oldest_s))


def _abreast(rows: Iterable[_Row]) -> Iterable[Sequence[_Row]]:
    """Return the first row of each shard, the second of each, and so on."""
    places: Counter[int] = Counter()
    found: list[list[_Row]] = []
    for row in rows:
        place = places[row.shard]
        places[row.shard] += 1
        if place == len(found):
            found.append([])
        found[place].append(row)
    return found


class EventDestination:
    """The amqp lane: events go to RabbitMQ. long_queue: so many that wait are enough."""

    def __init__(self, publisher: "PublishesEvents", long_queue: int = LONG_QUEUE) -> None:
        self._publisher = publisher
        self._long_queue = long_queue

    def deliver(self, rows: Sequence[Delivery]) -> Sequence[BaseException | None]:
        """Publish the envelopes."""
        return self._publisher.publish([body for _, body in rows])

    def has_enough(self, bodies: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether a queue that takes such events is long."""
        return self._publisher.longest_queue(bodies) >= self._long_queue

    def reset(self) -> None:
        """Reconnect before the next one."""
        self._publisher.close()


class PublishesEvents(Protocol):
    """What the amqp lane needs of a publisher."""

    def publish(self, events: Sequence[Mapping[str, Any]]) -> Sequence[BaseException | None]:
        """Publish and wait for the confirms; return for each event why there was none."""

    def longest_queue(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Return how many messages wait in the longest queue that takes such events."""

    def close(self) -> None:
        """Drop the connection."""
