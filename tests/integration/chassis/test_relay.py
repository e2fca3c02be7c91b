"""The relay and the broker: nothing is lost, order holds by aggregate, dead letters can be put back."""

import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from kombu import Connection, Queue
from sqlalchemy import func, select, text, update

from deploy.local.stores import PrivateStores
from services.chassis import places
from services.chassis.amqp import Publisher, declare, event_exchange
from services.chassis.clock import utc_now
from services.chassis.db import SHARDS, Store, WorkflowStart, service_metadata, shard_of
from services.chassis.dead_letters import count, peek, replay
from services.chassis.ids import new_id
from services.chassis.locks import LOCK
from services.chassis.outbox import BATCH, LONG_QUEUE, Delivery, EventDestination, Relay
from services.chassis.settings import QueueType
from services.chassis.tenancy import Tenant
from tests.support.until import until

QUEUE = "evt-relaytest-thing_happened--relaytest.take_thing"
ENTRY = {"exchange": "relaytest.events", "routing_key": "thing_happened", "queue": QUEUE}


@pytest.fixture(scope="module")
def own_stores() -> Iterator[PrivateStores]:
    """Stores of this module alone: its broker is killed."""
    with PrivateStores(databases=("main", "south")) as started:
        yield started


@pytest.fixture(scope="module")
def store(own_stores: PrivateStores) -> Iterator[Store]:
    """A store of its own schema with a table of what was handled."""
    metadata = service_metadata("relaytest")
    store = Store(own_stores.database_urls, metadata, utc_now)
    for database in own_stores.database_urls:
        with store.engine(database).begin() as connection:
            connection.execute(text("CREATE SCHEMA relaytest"))
            places.build(connection)
            metadata.create_all(connection)
            connection.execute(
                text("CREATE TABLE relaytest.taken (tenant_id uuid, aggregate uuid, version int)")
            )
    declare(own_stores.amqp_url, ["relaytest"], [ENTRY], QueueType.QUORUM)
    yield store
    store.close()


@contextmanager
def relaying(store: Store, amqp_url: str, database: str, long_queue: int = LONG_QUEUE) -> Iterator[Relay]:
    """Run a relay of a database."""
    relay = Relay(store, database, "amqp", EventDestination(Publisher(amqp_url, [ENTRY]), long_queue))
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def waiting(store: Store, database: str) -> int:
    """Return how many outbox rows of a database wait."""
    with store.across(database) as session:
        return session.scalar(select(func.count()).select_from(store.tables["outbox"])) or 0


def take_all(amqp_url: str, expected: int) -> list[dict[str, Any]]:
    """Take this many messages off the queue, acknowledged."""
    bodies: list[dict[str, Any]] = []
    with Connection(amqp_url) as connection:
        queue = Queue(QUEUE, event_exchange("relaytest"), "thing_happened").bind(connection.default_channel)

        def more() -> bool:
            while (message := queue.get(no_ack=True)) is not None:
                bodies.append(message.payload)
            return len(bodies) >= expected

        until(more)
    return bodies


def test_two_relays_deliver_every_event_in_order_by_aggregate(
    store: Store, own_stores: PrivateStores, tenant: Tenant
) -> None:
    aggregates = [new_id() for _ in range(5)]
    with (
        relaying(store, own_stores.amqp_url, tenant.database),
        relaying(store, own_stores.amqp_url, tenant.database),
    ):
        for version in range(1, 21):
            with store.transaction(tenant) as tx:
                for aggregate in aggregates:
                    tx.emit("thing_happened", aggregate, version, {"text": "张三"})
        bodies = take_all(own_stores.amqp_url, 100)
        until(lambda: waiting(store, tenant.database) == 0)
    assert len({body["id"] for body in bodies}) == 100
    for aggregate in aggregates:
        assert [body["version"] for body in bodies if body["aggregate"] == aggregate] == list(range(1, 21))
    assert bodies[0]["tenant"] == {"id": tenant.id, "database": tenant.database}
    assert bodies[0]["data"] == {"text": "张三"}


def test_a_tenant_with_much_to_tell_does_not_crowd_out_another(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant
) -> None:
    """An import's events wait in the outbox while receivers have enough; a neighbour's go before, each in order."""
    many, aggregate, neighbour = 2 * BATCH + 50, new_id(), Tenant(new_id(), "main")
    with store.transaction(main_tenant) as tx:
        for version in range(1, many + 1):
            tx.emit("thing_happened", aggregate, version, {})
    with relaying(store, own_stores.amqp_url, "main", long_queue=100):
        until(lambda: waiting(store, "main") <= many - BATCH, timeout_s=30)
        with store.transaction(neighbour) as tx:
            tx.emit("thing_happened", new_id(), 1, {})

        def of_neighbour() -> int:
            mine = store.tables["outbox"].c.tenant_id == neighbour.id
            with store.transaction(neighbour) as tx:
                return tx.session.scalar(select(func.count()).where(mine)) or 0

        until(lambda: of_neighbour() == 0)
        # Nobody takes anything yet, and the crowd's rest is still where it was.
        assert waiting(store, "main") == many - BATCH
        bodies = take_all(own_stores.amqp_url, many + 1)
    place = [body["tenant"]["id"] for body in bodies].index(neighbour.id)
    assert place == BATCH
    assert [body["version"] for body in bodies if body["aggregate"] == aggregate] == list(range(1, many + 1))


def test_a_frozen_relay_is_put_out_by_one_that_stands_by(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant
) -> None:
    """SIGSTOP keeps a process's connection, and with it the lock."""
    with psycopg.connect(own_stores.database_urls["main"], autocommit=True) as frozen:
        assert frozen.execute(LOCK, ("relaytest.outbox.amqp",)).fetchone() == (True,)
        publisher = EventDestination(Publisher(own_stores.amqp_url, [ENTRY]))
        relay = Relay(store, "main", "amqp", publisher, silence_s=1.0)
        relay.start()
        try:
            with store.transaction(main_tenant) as tx:
                tx.emit("thing_happened", new_id(), 1, {})
            assert len(take_all(own_stores.amqp_url, 1)) == 1
        finally:
            relay.stop()
        with pytest.raises(psycopg.OperationalError):
            frozen.execute("SELECT 1")


def test_the_relay_forgets_requests_and_events_past_their_time(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant
) -> None:
    with store.transaction(main_tenant) as tx:
        session = tx.session
        for days in (1, 8, 31):
            session.execute(
                text(
                    "INSERT INTO relaytest.request (tenant_id, caller_id, method, request_id, digest, create_time)"
                    " VALUES (:tenant, :days, 'm', gen_random_uuid(), '', now() - make_interval(days => :days))"
                ),
                {"tenant": main_tenant.id, "days": days},
            )
            session.execute(
                text(
                    "INSERT INTO relaytest.inbox (handler, event_id, create_time)"
                    " VALUES ('old', gen_random_uuid(), now() - make_interval(days => :days))"
                ),
                {"days": days},
            )

    def left() -> tuple[int, int]:
        with store.across("main") as session:
            requests, events = session.execute(
                text(
                    "SELECT (SELECT count(*) FROM relaytest.request WHERE tenant_id = :tenant),"
                    " (SELECT count(*) FROM relaytest.inbox WHERE handler = 'old')"
                ),
                {"tenant": main_tenant.id},
            ).one()
        return requests, events

    assert left() == (3, 3)
    with relaying(store, own_stores.amqp_url, "main"):
        until(lambda: left() == (1, 2))


class Stuck:
    """A destination that does not answer until it is let go."""

    def __init__(self) -> None:
        self.free = Event()

    def deliver(self, rows: Sequence[Delivery]) -> Sequence[BaseException | None]:
        """Wait as for a server that is away."""
        self.free.wait(30)
        return [None] * len(rows)

    def has_enough(self, bodies: Sequence[Mapping[str, Any]]) -> bool:
        """Nobody crowds here."""
        return False

    def reset(self) -> None:
        """Nothing to drop."""


def test_a_temporal_that_is_away_holds_up_no_event(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant
) -> None:
    stuck = Stuck()
    temporal = Relay(store, "main", "temporal", stuck)
    temporal.start()
    try:
        with relaying(store, own_stores.amqp_url, "main"):
            with store.transaction(main_tenant) as tx:
                tx.start_workflow(WorkflowStart("Never", new_id(), "nowhere", {}))
            with store.transaction(main_tenant) as tx:
                tx.emit("thing_happened", new_id(), 1, {})
            assert len(take_all(own_stores.amqp_url, 1)) == 1
            assert waiting(store, "main") == 1
    finally:
        stuck.free.set()
        temporal.stop()
    assert waiting(store, "main") == 0


def test_no_event_is_lost_when_the_broker_is_killed_in_the_middle(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant
) -> None:
    aggregate = new_id()
    with relaying(store, own_stores.amqp_url, "main"):
        for version in range(1, 201):
            with store.transaction(main_tenant) as tx:
                tx.emit("thing_happened", aggregate, version, {})
            if version == 100:
                own_stores.processes["rabbitmq"].kill()
        own_stores.processes["rabbitmq"].start()
        until(lambda: waiting(store, "main") == 0, timeout_s=60)
    versions = [body["version"] for body in take_all(own_stores.amqp_url, 200)]
    # At least once: the one whose confirm was lost comes twice. In order, and none is missing.
    assert [version for version, _ in itertools.groupby(versions)] == list(range(1, 201))


def in_shard(shard: int) -> str:
    """Return the id of an aggregate of a shard."""
    return next(made for made in iter(new_id, "") if shard_of(made) == shard)


@pytest.mark.parametrize("fault", ["breaks the connection", "reaches no queue"])
def test_what_cannot_be_delivered_stops_its_aggregate_and_no_other(
    fault: str, store: Store, own_stores: PrivateStores, main_tenant: Tenant
) -> None:
    """Rows of all shards are under way together: one that fails must not take the others along, or be overtaken."""
    bad, *others = (in_shard(shard) for shard in range(SHARDS))
    outbox = store.tables["outbox"]
    with store.transaction(main_tenant) as tx:
        for version in range(1, 4):
            for aggregate in (bad, *others):
                tx.emit("thing_happened", aggregate, version, {})
    with store.transaction(main_tenant) as tx:
        row_id, body = tx.session.execute(
            select(outbox.c.id, outbox.c.body).where(outbox.c.shard == 0).order_by(outbox.c.id).limit(1)
        ).one()
        # Of an exchange that is not there, which ends the channel; of a kind whose queue is not.
        wrong = {"source": "nobody"} if fault == "breaks the connection" else {"type": "nothing_happened"}
        tx.session.execute(update(outbox).where(outbox.c.id == row_id).values(body={**body, **wrong}))
    lost = {**ENTRY, "routing_key": "nothing_happened", "queue": "evt-nowhere"}
    destination = EventDestination(Publisher(own_stores.amqp_url, [ENTRY, lost]))
    relay = Relay(store, "main", "amqp", destination)
    relay.start()
    try:
        until(lambda: waiting(store, "main") == 3, timeout_s=30)
        bodies = take_all(own_stores.amqp_url, 3 * len(others))
        with store.transaction(main_tenant) as tx:
            tx.session.execute(update(outbox).where(outbox.c.id == row_id).values(body=body))
        bodies += take_all(own_stores.amqp_url, 3)
    finally:
        relay.stop()
    assert waiting(store, "main") == 0
    for aggregate in (bad, *others):
        told = [body["version"] for body in bodies if body["aggregate"] == aggregate]
        # At least once.
        assert [version for version, _ in itertools.groupby(told)] == [1, 2, 3]


HOST = textwrap.dedent(
    """
    from services.chassis.service import patch_for_nameko
    patch_for_nameko()
    import sys
    from sqlalchemy import text
    from services.chassis import logging, places
    from services.chassis.clock import utc_now
    from services.chassis.db import SHARDS, Store, WorkflowStart, service_metadata, shard_of
    from services.chassis.errors import InvalidInput, Unavailable
    from services.chassis.events import Handlers
    from services.chassis.nameko_host import run
    from services.chassis.settings import QueueType

    handlers = Handlers("relaytest")

    @handlers.on("relaytest", "thing_happened")
    def take_thing(tx, event):
        tx.session.execute(
            text("INSERT INTO relaytest.taken VALUES (:tenant, :aggregate, :version)"),
            {"tenant": event.tenant.id, "aggregate": event.aggregate, "version": event.version},
        )
        if event.data.get("fault") == "for_good":
            raise InvalidInput("data", "BAD", "坏", "bad")
        if event.data.get("fault") == "once":
            if tx.session.scalar(text("SELECT count(*) FROM relaytest.tries")) == 0:
                # Written outside this transaction, which is rolled back.
                with store.nobodys(tx.tenant.database) as session:
                    session.execute(text("INSERT INTO relaytest.tries VALUES (1)"))
                raise Unavailable("DOWN", "暂停", "down")

    logging.configure("host", "INFO")
    main, south, amqp_url = sys.argv[1:]
    store = Store({"main": main, "south": south}, service_metadata("relaytest"), utc_now)
    sys.exit(run([(store, handlers)], amqp_url, kind=QueueType.QUORUM))
    """
)


@contextmanager
def hosting(stores: PrivateStores, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the handlers in a process of their own, as a site does."""
    script = folder / "host.py"
    script.write_text(HOST)
    with (folder / "host.log").open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                str(script),
                stores.database_urls["main"],
                stores.database_urls["south"],
                stores.amqp_url,
            ],
            stdout=log,
            stderr=log,
            env=os.environ,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def taken(store: Store, tenant: Tenant) -> int:
    """Return how many events of a tenant had their effect."""
    with store.transaction(tenant) as tx:
        return (
            tx.session.scalar(
                text("SELECT count(*) FROM relaytest.taken WHERE tenant_id = :id"), {"id": tenant.id}
            )
            or 0
        )


def test_a_handler_killed_in_the_middle_has_each_effect_once(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant, tmp_path: Path
) -> None:
    """kill -9 between commit and acknowledgement: the event comes again and finds its inbox row."""
    with relaying(store, own_stores.amqp_url, "main"):
        with store.transaction(main_tenant) as tx:
            for version in range(300):
                tx.emit("thing_happened", new_id(), version, {})
        with hosting(own_stores, tmp_path) as process:
            until(lambda: taken(store, main_tenant) >= 20, timeout_s=30)
            process.kill()
            process.wait()
        with hosting(own_stores, tmp_path):
            until(lambda: taken(store, main_tenant) >= 300, timeout_s=30)
    assert taken(store, main_tenant) == 300


def test_a_failing_event_is_tried_again_or_kept_as_a_dead_letter(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant, tmp_path: Path
) -> None:
    with store.nobodys("main") as session:
        session.execute(text("CREATE TABLE relaytest.tries (number int)"))
    with (
        relaying(store, own_stores.amqp_url, "main"),
        hosting(own_stores, tmp_path),
        Connection(own_stores.amqp_url, transport_options={"confirm_publish": True}) as connection,
    ):
        with store.transaction(main_tenant) as tx:
            tx.emit("thing_happened", new_id(), 1, {"fault": "once"})
        until(lambda: taken(store, main_tenant) == 1, timeout_s=20)
        with store.transaction(main_tenant) as tx:
            tx.emit("thing_happened", new_id(), 2, {"fault": "for_good"})
        until(lambda: count(connection, QUEUE) == 1, timeout_s=20)
        (letter,) = peek(connection, QUEUE)
        assert "BAD" in str(letter["error"])
        assert taken(store, main_tenant) == 1
        assert replay(connection, QUEUE) == 1
        # It fails again: nothing was mended. But it was tried from the first try on.
        until(lambda: count(connection, QUEUE) == 1, timeout_s=20)


def test_what_waits_shares_transactions_and_one_that_fails_for_good_holds_up_no_other(
    store: Store, own_stores: PrivateStores, main_tenant: Tenant, tmp_path: Path
) -> None:
    many = 100
    with Connection(own_stores.amqp_url) as connection:
        dead = count(connection, QUEUE)
        with relaying(store, own_stores.amqp_url, "main"):
            with store.transaction(main_tenant) as tx:
                for version in range(many):
                    tx.emit(
                        "thing_happened", new_id(), version, {"fault": "for_good"} if version == 30 else {}
                    )
            until(lambda: waiting(store, "main") == 0)
        with hosting(own_stores, tmp_path):
            until(lambda: taken(store, main_tenant) == many - 1, timeout_s=30)
            until(lambda: count(connection, QUEUE) == dead + 1)
    with store.transaction(main_tenant) as tx:
        query = text(
            "SELECT count(DISTINCT aggregate), count(DISTINCT xmin::text) FROM relaytest.taken WHERE tenant_id = :id"
        )
        once, transactions = tx.session.execute(query, {"id": main_tenant.id}).one()
    assert once == many - 1
    # Those that were handled with the bad one are alone, and the first may be.
    assert transactions < many / 2
