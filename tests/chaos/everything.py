"""Replicas are killed, frozen, cut off and rolled under load; nothing acknowledged is lost, nothing happens twice.

    make chaos                  ten minutes, as root on network namespaces [FOR=600 REPLICAS=2]
    make chaos BEFORE=...       the same while every other replica runs the code of that checkout, a release before
    make chaos MOVE=yes         the same while the tenant moves to the other database and back, again and again

Writers create customers, follow them up and give some back, by any gateway, and send again what was not answered, under
the same request id. Meanwhile each stateless process in turn is killed (-9), frozen for eight seconds, cut off from who
calls it for as long, killed while it is cut off, as a machine that loses its power, or asked to stop as a roll-out
does. Each is on a host of its own where root may make network namespaces, and is cut off from its stores too;
elsewhere hosts are loopback ports, and none loses its power. On two cores this shows that it is right, not that it is
fast. The last line is one JSON object:

    acknowledged     changes whose answer came
    lost             acknowledged ones that are not in the store
    duplicated       customers, follow-ups or changes of owner that are there more often than they were asked for
    disagreements    records that two services disagree about when all is over
    faults           that were caused; the line before has the longest that any change waited after one of a kind
    hosts            network namespaces or loopback ports
    longest_outage_s the longest that a change waited for its answer, sent again and again
"""

import argparse
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import psycopg

from deploy.local.process import Program
from deploy.local.stack import Stack
from deploy.local.table import ROOT, Plan, Site, Table
from services.__main__ import load
from services.chassis.settings import SERVICES, Settings
from services.chassis.walls import EVERY_TENANT_OPTIONS
from services.reconcile.command import Reconciler
from tests.chaos.cables import Cables
from tests.chaos.hosts import Hosts, go_apart
from tests.chaos.load import Done, found, write
from tests.chaos.network import Network
from tests.support.until import until

# Between two faults, in seconds.
PAUSE_S = 6.0
# How long what is frozen or cut off stays so: longer than a health check, shorter than the silence of a dead relay.
FROZEN_S = 8.0
# How long what vanished stays away: longer than its connections are kept.
VANISHED_S = 15.0
# How long everything may take to be told when the last change is made, in seconds.
PATIENCE_S = 180.0
# Disagreements that are printed.
SHOWN = 20
# Edges need a PBX and a modem; they have a chaos of their own.
STATELESS = ("gateway", *SERVICES, "events", "worker")

FOUND = """
SELECT c.name, c.customer_id::text,
    (SELECT count(*) FROM customers.follow_up f
        WHERE f.tenant_id = c.tenant_id AND f.customer_id = c.customer_id),
    (SELECT count(*) FROM customers.ownership_change o
        WHERE o.tenant_id = c.tenant_id AND o.customer_id = c.customer_id),
    c.owner_id IS NULL
FROM customers.customer c WHERE c.tenant_id = %s
"""
WHERE = "SELECT id::text, database FROM identity.tenant WHERE slug = %s"


def faults(stack: Stack, network: Network) -> Mapping[str, Callable[[str], None]]:
    """Return what can be done to a process, by name; what ends is started again."""

    def send(name: str, number: signal.Signals) -> None:
        pid = stack.processes[name].pid
        # One that is just being started again has none.
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(name: str) -> None:
        send(name, signal.SIGSTOP)
        time.sleep(FROZEN_S)
        send(name, signal.SIGCONT)

    def cut(name: str) -> None:
        network[name].pull()
        time.sleep(FROZEN_S)
        network[name].plug()

    def vanish(name: str) -> None:
        network[name].pull()
        stack.kill(name)
        # What it held is found out by those who hear nothing of it any more.
        time.sleep(VANISHED_S)
        network[name].plug()

    return {
        "kill": stack.kill,
        "freeze": freeze,
        "cut": cut,
        # On loopback the kernel tells whoever was connected with it.
        **({"vanish": vanish} if isinstance(network, Hosts) else {}),
        "roll": lambda name: send(name, signal.SIGTERM),
    }


def break_things(stack: Stack, network: Network, seconds: float) -> list[tuple[float, str, str]]:
    """Cause a fault after the other for so long; return when, which, and to whom."""
    caused: list[tuple[float, str, str]] = []
    names = [name for name in stack.processes if name.partition("-")[0] in STATELESS]
    # Each process gets each fault before one comes again; on loopback nobody calls those without a link.
    known = faults(stack, network)
    plan = [(kind, name) for name in names for kind in known if kind != "cut" or name in network]
    random.Random(1).shuffle(plan)  # noqa: S311 - an order, not a secret
    deadline = time.monotonic() + seconds
    for kind, name in itertools.cycle(plan):
        if time.monotonic() > deadline:
            return caused
        caused.append((time.monotonic(), kind, name))
        print(f"{kind:<7}{name}", flush=True)
        known[kind](name)
        time.sleep(PAUSE_S)
    return caused


def mixed(table: Table, before: Path) -> Table:
    """Return the same table with the code of another checkout in every other replica, and in the worker."""

    def old(program: Program) -> Program:
        if not (program.name.endswith("-1") or program.name == "worker"):
            return program
        path = f"{before}:{before / 'proto/gen'}"
        return replace(program, cwd=before, env={**program.env, "PYTHONPATH": path})

    def laid(site: Site) -> Plan:
        plan = table(site)
        return replace(plan, tiers=[[old(each) for each in tier] for tier in plan.tiers])

    return laid


def move(stack: Stack, slug: str, database: str) -> None:
    """Move the tenant to another database by the operator's command."""
    words = ("services.identity", "move-tenant", "--slug", slug, "--to", database, "--patience", "30")
    environment = {**os.environ, **stack.plan.environment}
    while True:
        # It gives up while a frozen process has a transaction open, and goes on when it is run again.
        done = subprocess.run(
            [sys.executable, "-m", *words],
            env=environment,
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        print(f"move   {slug}: {(done.stdout or done.stderr).strip().splitlines()[-1]}", flush=True)
        if done.returncode == 0:
            return


def move_about(stack: Stack, slug: str, stop: threading.Event) -> None:
    """Move the tenant to and fro until told to stop."""
    for database in itertools.cycle(("south", "main")):
        move(stack, slug, database)
        if stop.wait(PAUSE_S):
            return


def told(stack: Stack) -> bool:
    """Tell whether every outbox is empty."""
    for url in stack.stores.database_urls.values():
        with psycopg.connect(url, options=EVERY_TENANT_OPTIONS) as database:
            for service in SERVICES:
                row = database.execute(f"SELECT count(*) FROM {service}.outbox").fetchone()  # noqa: S608 - our own name
                if row is None or row[0]:
                    return False
    return True


def judge(stack: Stack, slug: str, done: list[Done]) -> tuple[int, int]:
    """Return how much of what was acknowledged is not there, and how much is there more often than it was done."""
    urls = stack.stores.database_urls
    with psycopg.connect(urls["main"], options=EVERY_TENANT_OPTIONS) as database:
        tenant_id, where = database.execute(WHERE, [slug]).fetchall()[0]
    rows = []
    for name, url in urls.items():
        with psycopg.connect(url, options=EVERY_TENANT_OPTIONS) as database:
            here = database.execute(FOUND, [tenant_id]).fetchall()
        if name != where and here:
            raise AssertionError(f"{len(here)} customers are left in {name}, which the tenant has left")
        rows += here
    there = defaultdict(list)
    for name, *rest in rows:
        there[name].append(rest)
    lost = duplicated = 0
    for each in done:
        for name, customer_id in each.customers.items():
            found_rows = there[name]
            lost += not any(row[0] == customer_id for row in found_rows)
            for _, followed, changes, in_pool in found_rows:
                lost += name in each.followed and not followed
                lost += name in each.returned and not in_pool
                # It was made, and given back at most once.
                duplicated += max(0, followed - 1) + max(0, changes - 2)
    return lost, duplicated + sum(len(items) - 1 for items in there.values())


def disagreements(stack: Stack) -> int:
    """Return how many records two services still disagree about when everything had time to arrive."""
    environment = {**os.environ, **stack.plan.environment}
    reconciler = Reconciler(load(), Settings.read(environment), environment, wait_s=10)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while True:
            # An outbox is empty when the broker has its rows: what is on its way from there is no disagreement yet.
            found_ones = [
                each for tenant in reconciler.tenants() for each in reconciler.check(tenant, repair=False)
            ]
            if not found_ones or time.monotonic() > deadline:
                break
    finally:
        reconciler.close()
    for each in found_ones[:SHOWN]:
        print(f"  {each.kind} {each.id}", flush=True)
    return len(found_ones)


def waits_after(caused: list[tuple[float, str, str]], done: list[Done]) -> dict[str, float]:
    """Return the longest that a change waited which was under way after a fault and before the next, by kind.

    Where it spans two, it is put down to the one in whose time it waited longer.
    """
    longest: dict[str, float] = defaultdict(float)
    ends = [when for when, _, _ in caused[1:]] + [math.inf]
    for began, waited in (wait for each in done for wait in each.waits):
        shares = {
            min(began + waited, end) - max(began, when): kind
            for (when, kind, _), end in zip(caused, ends, strict=True)
        }
        if shares and max(shares) > 0:
            kind = shares[max(shares)]
            longest[kind] = max(longest[kind], round(waited, 2))
    return dict(longest)


def main() -> int:
    """Run the load, break things, compare; 1 when anything was lost or came twice."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.everything", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--move", action="store_true", help="move the tenant meanwhile")
    parser.add_argument("--before", type=Path, help="a checkout whose code every other replica runs")
    asked = parser.parse_args()
    network: Network = Hosts(STATELESS) if go_apart() else Cables()
    print(f"hosts are {network.name}", flush=True)
    with (
        closing(network),
        Stack(
            api_replicas=asked.replicas,
            gateway_replicas=asked.replicas,
            background_replicas=asked.replicas,
            host=network.host,
            table=mixed(network.table, asked.before) if asked.before else network.table,
            say=lambda line: print(line, flush=True),
        ) as stack,
    ):
        slug, pool_id, people = found(stack, asked.writers)
        stop, done = threading.Event(), [Done() for _ in people]
        writers = [
            threading.Thread(target=write, args=(person, pool_id, stop, mine))
            for person, mine in zip(people, done, strict=True)
        ]
        for writer in writers:
            writer.start()
        settled = threading.Event()
        moving = threading.Thread(target=move_about, args=(stack, slug, settled))
        if asked.move:
            moving.start()
        caused = break_things(stack, network, asked.seconds)
        settled.set()
        if asked.move:
            moving.join()
        stop.set()
        for writer in writers:
            writer.join()
        for name in stack.processes:
            stack.wait_healthy(name)
        until(lambda: told(stack), timeout_s=PATIENCE_S)
        lost, duplicated = judge(stack, slug, done)
        disagreed = disagreements(stack)
        for person in people:
            person.close()
    print(json.dumps({"unanswered": sum(each.unanswered for each in done), **waits_after(caused, done)}))
    acknowledged = sum(len(each.customers) + len(each.followed) + len(each.returned) for each in done)
    result = {
        "acknowledged": acknowledged,
        "lost": lost,
        "duplicated": duplicated,
        "disagreements": disagreed,
        "faults": len(caused),
        "hosts": network.name,
        "longest_outage_s": round(max((waited for each in done for _, waited in each.waits), default=0), 2),
    }
    print(json.dumps(result))
    return 1 if lost or duplicated or disagreed else 0


if __name__ == "__main__":
    sys.exit(main())
