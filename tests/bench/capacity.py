"""What each unit costs: an agent at the desk, a call, a customer; processors' time, disk and memory, by who spends it.

    make bench-capacity        100 agents, 300 calls at 10 a second, 1,000 customers by the API

Everything runs on this machine, and its processors' time is counted from /proc, the stores' too: so the figures add up
and are the same on an idle machine and on a busy one. docs/capacity.md reckons with them. The last line is one JSON
object: cpu_ms of an agent's minute, of a call and of a customer; bytes of a call and of a customer, indexes included,
by schema; rss_mb of each process at the end; events a second that one relay delivers to queues of each type, and rows a
second that a move of a tenant copies, and compares while nobody may write.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
import websockets
from sqlalchemy import text

from deploy.local.pbx.asterisk import LOAD_AGENTS
from deploy.local.stack import Stack
from services.chassis.amqp import Publisher, declare
from services.chassis.clock import utc_now
from services.chassis.db import Store, service_metadata
from services.chassis.ids import new_id
from services.chassis.outbox import EventDestination, Relay
from services.chassis.relocation import Relocation
from services.chassis.settings import SERVICES, QueueType, Settings
from services.chassis.tenancy import Tenant
from services.identity.__main__ import SERVICE as IDENTITY
from services.identity.store.queries import tenant_by_slug
from services.identity.usecases.tenants import register
from tests.bench.pop import FIRST_MOBILE, LOAD_DID, prepare, watch
from tests.bench.scale import children, cpu_s
from tests.chaos.load import Person, found
from tests.e2e.desk import Desk

WRITERS = 4
SIZES = """
SELECT n.nspname, sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND c.relkind = 'r' AND c.relname NOT IN ('outbox', 'inbox', 'request') GROUP BY 1
"""


class Meter:
    """Reads what a stack has used so far; what it uses when nobody does anything is not a unit's cost."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.idle_ms_per_s: dict[str, float] = {}

    def rest(self, seconds: float) -> None:
        """Learn what is used when nobody does anything."""
        used, begin = cpu_s(self._stack), time.monotonic()
        time.sleep(seconds)
        took_s, spent = time.monotonic() - begin, cpu_s(self._stack)
        self.idle_ms_per_s = {name: (spent[name] - used[name]) * 1000 / took_s for name in spent}

    def cost(self, units: float, work: Callable[[], object]) -> dict[str, dict[str, float]]:
        """Do something; return what a unit of it took: cpu_ms by process, bytes by schema."""
        used, stored, begin = cpu_s(self._stack), self._sizes(), time.monotonic()
        work()
        spent, kept, took_s = cpu_s(self._stack), self._sizes(), time.monotonic() - begin
        cpu = {
            name: round(
                ((spent[name] - used[name]) * 1000 - self.idle_ms_per_s.get(name, 0) * took_s) / units, 2
            )
            for name in spent
        }
        size = {name: round((kept[name] - stored[name]) / units, 0) for name in kept}
        return {
            "cpu_ms": {name: ms for name, ms in cpu.items() if ms >= 0.05}
            | {"all": round(sum(cpu.values()), 1)},
            "bytes": {name: count for name, count in size.items() if count >= 10}
            | {"all": sum(size.values())},
        }

    def rss_mb(self) -> dict[str, float]:
        """Return the memory of each process with its children, what they share counted once for each."""
        return {
            name: round(sum(_rss_kb(pid) for pid in (process.pid or 0, *children(process.pid or 0))) / 1024)
            for name, process in self._stack.processes.items()
        }

    def _sizes(self) -> dict[str, int]:
        with psycopg.connect(self._stack.stores.database_urls["main"]) as database:
            return dict(database.execute(SIZES, [list(SERVICES)]).fetchall())


def _rss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


async def hold(desks: Sequence[Desk], address: str, seconds: float) -> None:
    """Keep each agent's live socket open for so long, as a page does: again when it was closed, and reading."""
    url = address.replace("http", "ws", 1) + "/api/v1/live"

    async def page(desk: Desk) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in desk.http.cookies.items())
        headers = {"Cookie": cookies}
        while True:
            with suppress(websockets.ConnectionClosed, OSError):
                async with websockets.connect(url, additional_headers=headers, origin=address) as socket:  # type: ignore[arg-type]  # any string will do
                    async for _ in socket:
                        pass
            await asyncio.sleep(1)

    pages = [asyncio.create_task(page(desk)) for desk in desks]
    await asyncio.sleep(seconds)
    for each in pages:
        each.cancel()
    await asyncio.gather(*pages, return_exceptions=True)


def create(people: Sequence[Person], customers: int, first: int = 0) -> None:
    """Create so many customers with a number each, from this one on, shared out among some people."""

    def work(person: Person, numbers: range) -> None:
        for number in numbers:
            phones = [{"number": f"139{number:08d}"}]
            person.post("customers", name=f"容量{number}科技有限公司", phones=phones)

    share = customers // len(people)
    threads = [
        threading.Thread(target=work, args=(person, range(first + turn * share, first + (turn + 1) * share)))
        for turn, person in enumerate(people)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What follows from them is part of their cost.
    time.sleep(10)


def relayed_per_s(stack: Stack, kind: QueueType, events: int) -> float:
    """Return how many events a second a service's relay delivers in one database."""
    service = f"bench{kind}"
    entry = {"exchange": f"{service}.events", "routing_key": "happened", "queue": f"evt-{service}"}
    metadata, amqp_url = service_metadata(service), stack.stores.amqp_url
    store = Store({"main": stack.stores.database_urls["main"]}, metadata, utc_now)
    with store.engine("main").begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {service}"))
        metadata.create_all(connection)
    declare(amqp_url, [service], [entry], kind)
    with store.transaction(Tenant(new_id(), "main")) as tx:
        for _ in range(events):
            tx.emit("happened", new_id(), 1, {"customerId": new_id(), "name": "上海某某科技有限公司"})
    looker, publisher = Publisher(amqp_url, [entry]), Publisher(amqp_url, [entry])
    # All of it: how it is shared out is not the question here.
    relay = Relay(store, "main", "amqp", EventDestination(publisher, long_queue=events + 1))
    begin = time.monotonic()
    relay.start()
    try:
        while looker.longest_queue([{"source": service, "type": "happened"}]) < events:
            time.sleep(0.05)
        return round(events / (time.monotonic() - begin), 1)
    finally:
        relay.stop()
        looker.close()
        store.close()


def moved(stack: Stack, slug: str) -> dict[str, float]:
    """Move a tenant to the other database; return its rows, and how long it took and was frozen, in seconds."""
    environment = {**os.environ, **stack.plan.environment}
    runtime = IDENTITY.runtime(Settings.read(environment), environment)
    with runtime.store.across("main") as home:
        found_one = tenant_by_slug(home, slug)
    assert found_one is not None
    begin = time.monotonic()
    move = Relocation(found_one.id, "main", "south", runtime.settings.database_urls, patience_s=60)
    done = move.run(lambda: register(runtime.store, found_one.id, "south"))
    runtime.store.close()
    return {
        "rows": done.rows,
        "took_s": round(time.monotonic() - begin, 1),
        "frozen_s": round(done.frozen_s, 2),
    }


def main() -> int:
    """Measure one kind of unit after the other and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.capacity", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rate", type=int, default=10, help="calls a second")
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30, help="of agents at the desk")
    asked = parser.parse_args()
    with Stack(
        given={**os.environ, "REQUESTS_PER_SECOND": "0"}, say=lambda line: print(line, flush=True)
    ) as stack:
        pbx = stack.pbx
        assert pbx is not None
        meter = Meter(stack)
        team = prepare(stack, 20_000)
        desks = list(team.desks.values())
        meter.rest(asked.seconds)
        idle = {name: round(ms, 1) for name, ms in meter.idle_ms_per_s.items()}
        agents = meter.cost(
            len(desks) * asked.seconds / 60, lambda: asyncio.run(hold(desks, stack.address, asked.seconds))
        )
        print(json.dumps({"idle_ms_per_s": idle, "agent_minute": agents["cpu_ms"]}), flush=True)
        numbers = [str(FIRST_MOBILE + 61 * number) for number in range(asked.calls)]
        calls = meter.cost(
            asked.calls,
            lambda: asyncio.run(watch(pbx, [stack.address], desks, numbers, LOAD_DID, 1.0, asked.rate)),
        )
        print(json.dumps({"call": calls}), flush=True)
        _, _, people = found(stack, WRITERS)
        create(people, WRITERS * 50)
        customers = meter.cost(asked.customers, lambda: create(people, asked.customers, WRITERS * 50))
        print(json.dumps({"customer": customers}), flush=True)
        memory = meter.rss_mb()
        relayed = {kind.value: relayed_per_s(stack, kind, 3000) for kind in QueueType}
        move = moved(stack, team.slug)
        for desk in desks:
            desk.close()
        for person in people:
            person.close()
    print(
        json.dumps(
            {
                "agents": len(LOAD_AGENTS),
                "idle_cpu_ms_per_s": idle,
                "agent_minute_cpu_ms": agents["cpu_ms"],
                "call_cpu_ms": calls["cpu_ms"],
                "call_bytes": calls["bytes"],
                "customer_cpu_ms": customers["cpu_ms"],
                "customer_bytes": customers["bytes"],
                "rss_mb": memory,
                "relayed_per_s": relayed,
                "move": move,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
