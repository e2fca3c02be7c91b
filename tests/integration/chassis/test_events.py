"""Deliveries that wait together share a transaction, and each is handled as if it were alone."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from deploy.local.stores import PrivateStores
from services.chassis import places
from services.chassis.clock import utc_now
from services.chassis.db import Event, Store, Transaction, service_metadata
from services.chassis.errors import Unavailable
from services.chassis.events import Handlers, handle
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from tests.support.running import event_of

handlers = Handlers("eventstest")


@handlers.on("elsewhere", "thing_happened")
def take_thing(tx: Transaction, event: Event) -> None:
    """Note it, tell of it, and fail where the event says so."""
    facts = {"tenant": tx.tenant.id, "aggregate": event.aggregate, "actor": tx.actor_id}
    tx.session.execute(
        text(
            "INSERT INTO eventstest.taken (tenant_id, aggregate, actor) VALUES (:tenant, :aggregate, :actor)"
        ),
        facts,
    )
    tx.emit("thing_taken", event.aggregate, 1, {})
    if event.data.get("fault"):
        raise Unavailable("DOWN", "暂停", "down")


(HANDLER,) = handlers.all


@pytest.fixture(scope="module")
def store(stores: PrivateStores) -> Iterator[Store]:
    """A store of its own schema with a table of what was handled."""
    metadata = service_metadata("eventstest")
    store = Store(stores.database_urls, metadata, utc_now)
    for database in stores.database_urls:
        with store.engine(database).begin() as connection:
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS eventstest"))
            places.build(connection)
            metadata.create_all(connection)
            connection.execute(
                text(
                    "CREATE TABLE IF NOT EXISTS eventstest.taken"
                    " (number bigserial, tenant_id uuid, aggregate uuid, actor text)"
                )
            )
    yield store
    store.close()


def thing(tenant: Tenant, actor_id: str = "", *, fault: bool = False) -> Event:
    """Return an event for the handler."""
    made = event_of(tenant, "elsewhere", "thing_happened", {"fault": fault})
    return Event(**{**vars(made), "actor_id": actor_id, "trace_id": new_id()})


def deliver(store: Store, *events: Event) -> list[Exception | None]:
    """Hand the handler what waits together."""
    return handle(store, HANDLER, [event.to_json() for event in events])


def taken(store: Store, tenant: Tenant) -> list[tuple[str, str]]:
    """Return (aggregate, actor) of what had its effect for a tenant, in order."""
    query = "SELECT aggregate::text, actor FROM eventstest.taken WHERE tenant_id = :tenant ORDER BY number"
    with store.transaction(tenant) as tx:
        return [(row[0], row[1]) for row in tx.session.execute(text(query), {"tenant": tenant.id})]


def told(store: Store, tenant: Tenant) -> list[tuple[str, str, str]]:
    """Return (aggregate, actor, trace) of what a tenant's outbox tells, in order."""
    outbox = store.tables["outbox"]
    with store.transaction(tenant) as tx:
        query = outbox.select().where(outbox.c.tenant_id == tenant.id).order_by(outbox.c.id)
        rows = tx.session.execute(query).all()
    return [(row.body["aggregate"], row.body["actor_id"], row.body["trace_id"]) for row in rows]


def transactions(store: Store, tenant: Tenant) -> int:
    """Return in how many transactions that was."""
    with store.transaction(tenant) as tx:
        query = text("SELECT count(DISTINCT xmin::text) FROM eventstest.taken WHERE tenant_id = :tenant")
        return int(tx.session.scalar(query, {"tenant": tenant.id}) or 0)


def test_what_waits_together_has_its_effects_in_order_in_one_transaction(
    store: Store, tenant: Tenant
) -> None:
    """Each in its own actor's name and of its own trace."""
    events = [thing(tenant, new_id()) for _ in range(5)]
    assert deliver(store, *events) == [None] * 5
    assert taken(store, tenant) == [(event.aggregate, event.actor_id) for event in events]
    assert told(store, tenant) == [(event.aggregate, event.actor_id, event.trace_id) for event in events]
    assert transactions(store, tenant) == 1


def test_what_came_before_or_comes_twice_at_once_has_no_second_effect(store: Store, tenant: Tenant) -> None:
    first, second, third = (thing(tenant) for _ in range(3))
    assert deliver(store, first) == [None]
    assert deliver(store, second, first, second, third) == [None] * 4
    assert [aggregate for aggregate, _ in taken(store, tenant)] == [
        event.aggregate for event in (first, second, third)
    ]


def test_one_that_fails_takes_no_other_along_and_leaves_nothing(store: Store, tenant: Tenant) -> None:
    events = [thing(tenant, fault=place == 2) for place in range(5)]
    errors = deliver(store, *events)
    assert [type(error) for error in errors] == [
        Unavailable if place == 2 else type(None) for place in range(5)
    ]
    others = [event.aggregate for place, event in enumerate(events) if place != 2]
    assert [aggregate for aggregate, _ in taken(store, tenant)] == others
    assert [aggregate for aggregate, _, _ in told(store, tenant)] == others
    # Its inbox row went with it: the next try is the first.
    assert isinstance(deliver(store, events[2])[0], Unavailable)


def test_tenants_that_wait_together_and_what_is_no_event_do_not_meet(store: Store) -> None:
    here, there = Tenant(new_id(), "main"), Tenant(new_id(), "south")
    events = [thing(here), thing(there), thing(here)]
    bodies = [event.to_json() for event in events]
    first, *others = handle(store, HANDLER, [{"id": "nothing"}, *bodies])
    assert isinstance(first, KeyError)
    assert others == [None] * 3
    assert [aggregate for aggregate, _ in taken(store, here)] == [events[0].aggregate, events[2].aggregate]
    assert [aggregate for aggregate, _ in taken(store, there)] == [events[1].aggregate]
