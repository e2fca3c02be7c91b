"""One transaction: its rows, its events and its request, or none of them."""

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import bindparam, func, insert, select, text
from sqlalchemy.event import listen
from sqlalchemy.exc import OperationalError

from deploy.local.stores import PrivateStores
from services.chassis import places
from services.chassis.bulk import array_text
from services.chassis.clock import utc_now
from services.chassis.db import Store, Transaction, service_metadata
from services.chassis.driver_queries import DriverQuery
from services.chassis.errors import InvalidInput, Unavailable
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant


@pytest.fixture(scope="module")
def store(stores: PrivateStores) -> Iterator[Store]:
    """A store of its own schema, in both databases."""
    metadata = service_metadata("storetest")
    store = Store(stores.database_urls, metadata, utc_now)
    for database in stores.database_urls:
        with store.engine(database).begin() as connection:
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS storetest"))
            places.build(connection)
            metadata.create_all(connection)
    yield store
    store.close()


def outbox_rows(store: Store, tenant: Tenant) -> int:
    """Return how many outbox rows a tenant has."""
    outbox = store.tables["outbox"]
    with store.transaction(tenant) as tx:
        return tx.session.scalar(select(func.count()).where(outbox.c.tenant_id == tenant.id)) or 0


def test_an_event_is_written_with_its_cause_or_not_at_all(store: Store, tenant: Tenant) -> None:
    """The process dying before the commit leaves nothing to tell others."""

    def die_before_the_commit() -> None:
        with store.transaction(tenant) as tx:
            tx.emit("thing_happened", new_id(), 1, {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_before_the_commit()
    assert outbox_rows(store, tenant) == 0
    with store.transaction(tenant) as tx:
        tx.emit("thing_happened", new_id(), 1, {})
    assert outbox_rows(store, tenant) == 1


def test_a_tenant_lives_in_its_own_database(store: Store, stores: PrivateStores) -> None:
    south = Tenant(new_id(), "south")
    with store.transaction(south) as tx:
        tx.emit("thing_happened", new_id(), 1, {})
    assert outbox_rows(store, south) == 1
    assert outbox_rows(store, Tenant(south.id, "main")) == 0


def test_a_transaction_takes_another_connection_when_the_database_closed_its_own(
    store: Store, main_tenant: Tenant
) -> None:
    """The database was started anew: whoever comes next finds every pooled connection closed and notices nothing."""
    barrier = Barrier(4)

    def who_serves(_: int) -> int:
        with store.transaction(main_tenant) as tx:
            barrier.wait()
            return tx.session.scalar(select(func.pg_backend_pid())) or 0

    with ThreadPoolExecutor(barrier.parties) as threads:
        before = set(threads.map(who_serves, range(barrier.parties)))
    with psycopg.connect(store.urls["main"]) as connection:
        for process in before:
            connection.execute("SELECT pg_terminate_backend(%s)", [process])
    with ThreadPoolExecutor(barrier.parties) as threads:
        after = set(threads.map(who_serves, range(barrier.parties)))
    assert len(before) == len(after) == barrier.parties
    assert not before & after


def test_what_a_vanished_machine_held_is_free_again_within_seconds(store: Store, main_tenant: Tenant) -> None:
    """Issue 9: a host that is cut off for good cannot say goodbye, and the rows that it had locked wait for the kernel.

    Untold, PostgreSQL would ask after two hours, and send an answer that nobody takes for a quarter of one.
    """
    with store.transaction(main_tenant) as tx:
        told = tx.session.execute(
            text(
                "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_keepalives%' OR name = 'tcp_user_timeout'"
            )
        ).all()
        driver = tx.session.connection().connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with socket.socket(fileno=os.dup(driver.fileno())) as ours:
            asked_after_s = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            unread_ms = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert {name: int(value) for name, value in told} == {
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 11_000,
    }
    assert (asked_after_s, unread_ms) == (5, 11_000)


def test_a_transaction_says_so_when_the_database_takes_nobody(
    stores: PrivateStores, main_tenant: Tenant
) -> None:
    nowhere = Store(
        {"main": f"{stores.database_urls['main']}_that_is_not_there"}, service_metadata("storetest"), utc_now
    )

    def look() -> None:
        with nowhere.transaction(main_tenant) as tx:
            tx.session.execute(select(1))

    with pytest.raises(OperationalError):
        look()
    nowhere.close()


def test_a_connection_in_use_is_closed_when_it_comes_back_to_a_closed_store(
    stores: PrivateStores, main_tenant: Tenant
) -> None:
    closing = Store({"main": stores.database_urls["main"]}, service_metadata("storetest"), utc_now)
    with closing.transaction(main_tenant) as tx:
        driver = tx.session.connection().connection.driver_connection
        closing.close()
    assert isinstance(driver, psycopg.Connection)
    assert driver.closed


def test_who_writes_for_a_tenant_that_moves_is_told_so_by_whatever_way_it_is_written(store: Store) -> None:
    moving = Tenant(new_id(), "main")
    with store.engine("main").begin() as connection:
        connection.execute(
            text("INSERT INTO tenancy.place (tenant_id) VALUES (:tenant)"), {"tenant": moving.id}
        )
    inbox = store.tables["inbox"]
    handled = {"handler": "a", "event_id": new_id()}
    own = DriverQuery(
        insert(inbox)
        .values({name: bindparam(name, type_=inbox.c[name].type) for name in handled})
        .returning(inbox.c.event_id)
    )

    def write(work: Callable[[Transaction], object]) -> None:
        with store.transaction(moving) as tx:
            work(tx)

    for work in (
        lambda tx: own.rows(tx, handled),
        lambda tx: tx.first_time(**handled),
        lambda tx: tx.emit("thing_happened", new_id(), 1, {}),
    ):
        with pytest.raises(Unavailable) as refused:
            write(work)
        assert refused.value.reason == "TENANT_MOVING"
    assert outbox_rows(store, moving) == 0


def test_a_query_straight_by_the_driver_sees_its_transaction_and_tells_of_a_lost_connection(
    store: Store, main_tenant: Tenant
) -> None:
    """Whoever loses the connection in the middle is told as by SQLAlchemy; the next one notices nothing."""
    outbox = store.tables["outbox"]
    own = DriverQuery(
        select(outbox.c.id).where(outbox.c.tenant_id == main_tenant.id, bindparam("ids") != "{}")
    )
    dying = DriverQuery(select(func.pg_terminate_backend(func.pg_backend_pid())))

    def die() -> None:
        with store.transaction(main_tenant) as tx:
            dying.rows(tx, {})

    with pytest.raises(OperationalError):
        die()
    with store.transaction(main_tenant) as tx:
        tx.emit("thing_happened", new_id(), 1, {})
        tx.post()
        assert len(own.rows(tx, {"ids": array_text([1, 2])})) == 1
        assert not own.rows(tx, {"ids": array_text([])})


def test_each_limit_stands_in_its_statement_where_the_database_plans_for_it(
    store: Store, main_tenant: Tenant
) -> None:
    """Of a limit that is a parameter PostgreSQL assumes a tenth of all rows, and sorts what an index has in order."""
    inbox = store.tables["inbox"]
    with store.transaction(main_tenant) as tx:
        for _ in range(4):
            assert tx.first_time("counting", new_id())
    said: list[str] = []
    listen(store.engine("main"), "before_cursor_execute", lambda *given: said.append(given[2]))

    def first(count: int) -> int:
        query = select(inbox.c.event_id).where(inbox.c.handler == "counting").limit(count)
        with store.nobodys("main") as session:
            return len(session.scalars(query).all())

    # Compiled once and run with each: none may get the number of the one before.
    assert [first(count) for count in (3, 2, 3, 9)] == [3, 2, 3, 4]
    assert [statement.rpartition("LIMIT ")[2] for statement in said] == ["3", "2", "3", "9"]


def test_an_event_is_taken_once(store: Store, tenant: Tenant) -> None:
    event_id = new_id()
    with store.transaction(tenant) as tx:
        assert tx.first_time("handler", event_id)
    with store.transaction(tenant) as tx:
        assert not tx.first_time("handler", event_id)
        assert tx.first_time("another_handler", event_id)


def test_eight_twins_of_a_request_have_one_effect_and_one_answer(store: Store, main_tenant: Tenant) -> None:
    request_id = new_id()
    barrier = Barrier(8)

    def twin(number: int) -> str:
        barrier.wait()
        with store.transaction(main_tenant) as tx:

            def work() -> StringValue:
                tx.emit("thing_happened", new_id(), 1, {})
                return StringValue(value=f"answer {number}")

            answer = tx.once("caller", "Method", request_id, b"request", work)
        return StringValue.FromString(
            answer if isinstance(answer, bytes) else answer.SerializeToString()
        ).value

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(twin, range(8)))
    assert len(answers) == 1
    assert outbox_rows(store, main_tenant) == 1


def test_a_request_id_may_not_be_used_for_another_request(store: Store, tenant: Tenant) -> None:
    request_id = new_id()
    with store.transaction(tenant) as tx:
        tx.once("caller", "Method", request_id, b"one", StringValue)
    with pytest.raises(InvalidInput) as refusal, store.transaction(tenant) as tx:
        tx.once("caller", "Method", request_id, b"another", StringValue)
    assert refusal.value.reason == "REQUEST_ID_REUSED"


def test_a_request_that_failed_may_be_repeated(store: Store, tenant: Tenant) -> None:
    request_id = new_id()

    def fail() -> StringValue:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), store.transaction(tenant) as tx:
        tx.once("caller", "Method", request_id, b"one", fail)
    with store.transaction(tenant) as tx:
        answer = tx.once("caller", "Method", request_id, b"one", lambda: StringValue(value="second try"))
    assert isinstance(answer, StringValue)


def test_a_request_id_that_is_no_uuid_names_its_field(store: Store, tenant: Tenant) -> None:
    with pytest.raises(InvalidInput) as refusal, store.transaction(tenant) as tx:
        tx.once("caller", "Method", "7", b"one", StringValue)
    assert refusal.value.field == "request_id"
