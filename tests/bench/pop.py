"""How fast a pop is: from the AMI event's arrival at the edge to the pop's arrival on a WebSocket client.

    make bench-pop        600 calls at 20 a second through the real PBX, 100,000 customers, 100 agents

Each call goes into a queue of 100 agents, each with a live socket of their own; the mobiles are of customers in a pool.
Both clocks are this machine's. The last line is one JSON object: calls placed, pops that arrived, pops lost, and
percentiles in milliseconds.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import websockets

from deploy.local.pbx.asterisk import LOAD_AGENTS, PrivatePbx
from deploy.local.stack import Stack
from deploy.local.table import ROOT
from services.chassis.ids import new_id
from services.chassis.walls import EVERY_TENANT_OPTIONS
from tests.bench.figures import percentile
from tests.e2e.company import PASSWORD
from tests.e2e.desk import Desk, Refused
from tests.support.until import until

# The queue whose agents are LOAD_AGENTS.
LOAD_DID = "4005"
# First of the customers' mobiles; the others follow it.
FIRST_MOBILE = 13900000000
# Longest wait for the last pop, in seconds.
PATIENCE_S = 10.0
# Sockets that are opened at once, and the pause before one that was closed is opened again, in seconds.
CONNECTING, RECONNECT_S = 20, 1.0

SEED = """
WITH ids AS (
    SELECT gen_random_uuid() AS customer_id, gen_random_uuid() AS phone_id, number
    FROM generate_series(0, %(customers)s - 1) AS number
), made AS (
    INSERT INTO customers.customer (tenant_id, customer_id, name, state, level, region, address, business_type,
        owner_department_path, pool_id, rule_version, create_time, version)
    SELECT %(tenant)s, customer_id, '压测客户' || number, 'active', 'B', '上海', '', '', '', %(pool)s, 1,
        now() - number * interval '1 minute', 1
    FROM ids
)
INSERT INTO customers.phone (tenant_id, phone_id, customer_id, e164, extension, position)
SELECT %(tenant)s, phone_id, customer_id, '+86' || (%(first)s + number), '', 0 FROM ids
"""

# More people like one: as identity would store and tell them, without 500 passwords to hash.
COLLEAGUES = """
WITH ids AS (
    SELECT gen_random_uuid() AS id, extension FROM unnest(%(extensions)s::text[]) AS extension
), people AS (
    INSERT INTO identity.person (id, tenant_id, login, name, mobile, extension, department_id, active,
        password_hash, epoch, version, create_time)
    SELECT ids.id, one.tenant_id, 'agent' || ids.extension, '坐席' || ids.extension, '', ids.extension,
        one.department_id, true, one.password_hash, one.epoch, 1, one.create_time
    FROM ids, identity.person AS one WHERE one.id = %(like)s
), roles AS (
    INSERT INTO identity.person_role (person_id, role_code, tenant_id)
    SELECT ids.id, 'service_agent', %(tenant)s FROM ids
), staff AS (
    INSERT INTO telephony.person (id, tenant_id, name, department_path, extension, version)
    SELECT ids.id, one.tenant_id, '坐席' || ids.extension, one.department_path, ids.extension, 1
    FROM ids, telephony.person AS one WHERE one.id = %(like)s
)
INSERT INTO telephony.line (id, tenant_id, pbx, kind, number, person_id)
SELECT gen_random_uuid(), %(tenant)s, '', 'extension', ids.extension, ids.id FROM ids
"""


@dataclass
class Arrivals:
    """When each call's first card reached a socket, in seconds after the PBX said that a phone rings."""

    by_call: dict[str, float] = field(default_factory=dict)

    def take(self, message: Mapping[str, Any], now_s: float) -> None:
        """Note a message of the live socket; a card that comes up only when somebody talks is late, not missing."""
        for pop in (message.get("pop", {}), *message.get("pops", ())):
            if pop.get("state") in ("POP_STATE_RINGING", "POP_STATE_TALKING"):
                rang_s = datetime.fromisoformat(pop["receiveTime"]).timestamp()
                self.by_call.setdefault(pop["callId"], now_s - rang_s)


@dataclass(frozen=True)
class Team:
    """Hold a tenant, and its agents' desks by their extensions."""

    tenant_id: str
    slug: str
    desks: Mapping[str, Desk]


def prepare(
    stack: Stack,
    customers: int,
    extensions: Sequence[str] = LOAD_AGENTS,
    dids: Sequence[str] = (LOAD_DID,),
) -> Team:
    """Make a tenant with an agent signed on at each of these extensions, these DIDs, and so many customers."""
    slug = f"bench{new_id()[-8:]}"
    environment = {**os.environ, **stack.plan.environment, "ADMIN_PASSWORD": PASSWORD}

    def run(*words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", *words], env=environment, cwd=ROOT, check=True, capture_output=True
        )

    run(
        *("services.identity", "create-tenant", "--slug", slug, "--name", "压测", "--database", "main"),
        *("--admin", "admin", "--admin-name", "管理员"),
    )
    admin = Desk.sign_in(stack.address, slug, "admin", PASSWORD)
    # Half a minute of wrap-up after each call, and at ten calls a second every agent would be away.
    desks = admin.get("deskSettings")["settings"]
    admin.patch("deskSettings", settings={**desks, "wrapUpSeconds": 0})
    pool_id = admin.post("pools", pool={"name": "压测池", "rule": {"idleDays": 90, "warnDays": 1}})["pool"][
        "poolId"
    ]
    with psycopg.connect(stack.stores.database_urls["main"], options=EVERY_TENANT_OPTIONS) as database:
        row = database.execute("SELECT id::text FROM identity.tenant WHERE slug = %s", [slug]).fetchone()
        if row is None:
            raise LookupError(slug)
        tenant_id = row[0]
        database.execute(
            SEED, {"tenant": tenant_id, "pool": pool_id, "customers": customers, "first": FIRST_MOBILE}
        )
        database.commit()
        database.autocommit = True
        # As a base that was not filled in this very minute: no first vacuum in the midst of the calls.
        database.execute("VACUUM ANALYZE customers.customer, customers.phone")
    for did in dids:
        run("services.telephony", "line", "main", tenant_id, "did", did)
    department_id = admin.get("departments")["departments"][0]["departmentId"]
    first, *others = extensions
    person = {
        "login": f"agent{first}",
        "name": f"坐席{first}",
        "extension": first,
        "departmentId": department_id,
        "roles": ["service_agent"],
        "active": True,
    }
    admin.post("people", person=person, password=PASSWORD)
    admin.close()

    def seat(extension: str) -> Desk:
        desk = Desk.sign_in(stack.address, slug, f"agent{extension}", PASSWORD)

        def signed_on() -> bool:
            try:
                return bool(desk.post("agent:signOn")["extension"] == extension)
            except Refused:
                return False

        until(signed_on, timeout_s=30)
        return desk

    seated = {first: seat(first)}
    with psycopg.connect(stack.stores.database_urls["main"], options=EVERY_TENANT_OPTIONS) as database:
        like = {"tenant": tenant_id, "like": seated[first].person_id, "extensions": others}
        database.execute(COLLEAGUES, like)
    with ThreadPoolExecutor(4) as threads:
        seated |= zip(others, threads.map(seat, others), strict=True)
    return Team(tenant_id, slug, seated)


async def watch(
    pbx: PrivatePbx,
    addresses: Sequence[str],
    desks: Sequence[Desk],
    numbers: Sequence[str],
    did: str,
    seconds: float,
    rate_per_s: int,
) -> Arrivals:
    """Hold every agent's socket open, spread over these gateways, while each number calls; return what arrived."""
    arrivals = Arrivals()
    connected, connecting = asyncio.Semaphore(0), asyncio.Semaphore(CONNECTING)

    async def listen(desk: Desk, address: str) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in desk.http.cookies.items())
        headers = {"Cookie": cookies}
        url = address.replace("http", "ws", 1) + "/api/v1/live"
        while True:
            # As a page does: one that is closed comes back, and gets a snapshot.
            with suppress(websockets.ConnectionClosed):
                async with connecting:
                    socket = await websockets.connect(url, additional_headers=headers, origin=address)  # type: ignore[arg-type]  # any string will do
                    arrivals.take(json.loads(await socket.recv()), time.time())
                connected.release()
                async for text in socket:
                    arrivals.take(json.loads(text), time.time())
            await asyncio.sleep(RECONNECT_S)

    sockets = [
        asyncio.create_task(listen(desk, address))
        for desk, address in zip(desks, itertools.cycle(addresses), strict=False)
    ]
    for _ in desks:
        await asyncio.wait_for(connected.acquire(), 120)
    load = pbx.caller.place(numbers, did, seconds, calls=len(numbers), rate_per_s=rate_per_s, media=False)
    load.spawn()
    try:
        async with asyncio.timeout(len(numbers) / rate_per_s + 60):
            while load.alive:
                await asyncio.sleep(0.2)
        deadline = time.monotonic() + PATIENCE_S
        while len(arrivals.by_call) < len(numbers) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
    finally:
        load.kill()
        for task in sockets:
            task.cancel()
        await asyncio.gather(*sockets, return_exceptions=True)
    return arrivals


def main() -> int:
    """Run the bench and print its figures; exit status 1 when a pop was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pop", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--rate", type=int, default=20, help="calls a second")
    parser.add_argument("--customers", type=int, default=100_000)
    asked = parser.parse_args()
    with Stack(say=lambda line: print(line, flush=True)) as stack:
        print(f"{asked.customers} customers and {len(LOAD_AGENTS)} agents ...", flush=True)
        if stack.pbx is None:
            raise LookupError("no PBX")
        desks = list(prepare(stack, asked.customers).desks.values())
        print(f"{asked.calls} calls at {asked.rate} a second ...", flush=True)
        numbers = [str(FIRST_MOBILE + 97 * number) for number in range(asked.calls)]
        arrivals = asyncio.run(watch(stack.pbx, [stack.address], desks, numbers, LOAD_DID, 1.0, asked.rate))
        for desk in desks:
            desk.close()
    delays_ms = [delay_s * 1000 for delay_s in arrivals.by_call.values()] or [math.inf]
    lost = asked.calls - len(arrivals.by_call)
    print(
        json.dumps(
            {
                "calls": asked.calls,
                "pops": len(arrivals.by_call),
                "lost": lost,
                "p50_ms": round(percentile(delays_ms, 0.5), 1),
                "p99_ms": round(percentile(delays_ms, 0.99), 1),
            }
        )
    )
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
