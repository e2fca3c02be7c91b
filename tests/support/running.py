"""Run a service's worker and relays inside the test process, and hand it events as its host does."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.chassis.clock import utc_now
from services.chassis.db import Event, Store
from services.chassis.events import Handlers
from services.chassis.ids import new_id
from services.chassis.service import Runtime, start_relays
from services.chassis.temporal import WorkerBundle, run_workers
from services.chassis.tenancy import Tenant


@contextmanager
def working(runtime: Runtime, bundle: WorkerBundle) -> Iterator[None]:
    """Run a service's worker in a thread."""
    settings = runtime.settings
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(
            run_workers(settings.temporal_address, settings.temporal_namespace, [bundle], stop)
        )
    )
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def relaying(runtime: Runtime) -> Iterator[None]:
    """Relay a service's outbox in every database."""
    stop = start_relays(runtime)
    try:
        yield
    finally:
        stop()


def event_of(
    tenant: Tenant,
    source: str,
    event_type: str,
    data: Mapping[str, Any],
    *,
    version: int = 1,
    aggregate: str = "",
) -> Event:
    """Return an event as its source would emit it now."""
    return Event(new_id(), event_type, source, tenant, "", aggregate or new_id(), version, utc_now(), data)


def take(store: Store, handlers: Handlers, event: Event) -> None:
    """Let a service's handlers take one delivery of an event, each in one transaction with its inbox row."""
    taking = [
        handler
        for handler in handlers.all
        if (handler.source, handler.event_type) == (event.source, event.type)
    ]
    assert taking, f"nobody takes {event.source}.{event.type}"
    for handler in taking:
        with store.transaction(event.tenant, event.actor_id) as tx:
            if tx.first_time(handler.name, event.id):
                handler.function(tx, event)


def emitted(store: Store, tenant: Tenant, event_type: str) -> list[dict[str, Any]]:
    """Return the data of a tenant's events of a type that wait in the outbox, in order."""
    outbox = store.tables["outbox"]
    with store.transaction(tenant) as tx:
        rows = tx.session.execute(
            outbox.select()
            .where(outbox.c.tenant_id == tenant.id, outbox.c.kind == "event")
            .order_by(outbox.c.id)
        ).all()
    return [dict(row.body["data"]) for row in rows if row.body["type"] == event_type]
