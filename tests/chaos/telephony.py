"""Calls go on while everything around them breaks: none is lost, none is there twice, no card is left over.

    make chaos-telephony        2,000 calls through the real PBX; faults one after the other until they are over

The faults, in turn: the AMI connection is cut, the edge is killed (-9), RabbitMQ is killed, PostgreSQL is killed. Each
call comes from a number of its own, so each can be told from every other one. The last line is one JSON object:

    calls       that were placed and connected
    lost        numbers of which there is no call, or one that is not over as it was: answered and ended
    duplicates  calls beyond the first of a number
    ghosts      cards that ring or talk, and calls that live, when all is over
    faults      that were caused
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from deploy.local.errors import LocalError
from deploy.local.stack import Stack
from services.chassis.walls import EVERY_TENANT_OPTIONS
from tests.bench.pop import FIRST_MOBILE, LOAD_DID, prepare
from tests.e2e.desk import Desk
from tests.support.until import until

# Seconds of a call from the PBX's answer on: the phones answer after one.
TALK_S = 4.0
# Between two faults, in seconds: the system has come back from one before the next.
PAUSE_S = 12.0
# How long everything may take to be told when the last call is over, in seconds.
PATIENCE_S = 180.0

CALLS = """
SELECT number, state, lost, end_time IS NULL AS live FROM telephony.call WHERE tenant_id = %(tenant)s
"""
CARDS = """
SELECT count(*) FROM telephony.pop WHERE tenant_id = %(tenant)s AND state IN ('ringing', 'talking')
"""


def faults(stack: Stack) -> Mapping[str, Callable[[], object]]:
    """Return what can be broken, each by its name; what was killed starts again by itself."""
    if stack.pbx is None:
        raise LookupError("no PBX")
    return {
        "ami": stack.pbx.cut_manager,
        "edge": lambda: stack.kill("pbx"),
        "rabbitmq": lambda: stack.kill("rabbitmq"),
        "postgresql": lambda: stack.kill("postgresql"),
    }


def newest_tenant(stack: Stack) -> tuple[str, str]:
    """Return id and slug of the tenant that was made last."""
    with psycopg.connect(stack.stores.database_urls["main"], options=EVERY_TENANT_OPTIONS) as database:
        row = database.execute(
            "SELECT id::text, slug FROM identity.tenant ORDER BY id DESC LIMIT 1"
        ).fetchone()
    if row is None:
        raise LookupError("no tenant")
    return row[0], row[1]


def read(stack: Stack, tenant_id: str) -> tuple[list[Any], int]:
    """Return a tenant's calls, and how many cards ring or talk."""
    with psycopg.connect(stack.stores.database_urls["main"], options=EVERY_TENANT_OPTIONS) as database:
        calls = database.execute(CALLS, {"tenant": tenant_id}).fetchall()
        row = database.execute(CARDS, {"tenant": tenant_id}).fetchone()
    return calls, row[0] if row else 0


def settled(stack: Stack, tenant_id: str, numbers: set[str]) -> bool:
    """Tell whether every call is there and over."""
    try:
        calls, cards = read(stack, tenant_id)
    except psycopg.Error:
        return False
    return not cards and numbers <= {number for number, _, _, live in calls if not live}


def open_cards(desks: list[Desk]) -> int:
    """Return how many cards the agents' pages would show as ringing or talking."""
    states = ("POP_STATE_RINGING", "POP_STATE_TALKING")
    return sum(pop["state"] in states for desk in desks for pop in desk.get("pops").get("pops", []))


def main() -> int:
    """Place the calls, break things, and print what came of it; exit status 1 when anything went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.telephony", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rate", type=int, default=10, help="calls a second")
    asked = parser.parse_args()
    # A machine that is still busy with starting everything answers late.
    Desk.patience_s = PATIENCE_S
    with Stack(say=lambda line: print(line, flush=True)) as stack:
        desks = prepare(stack, asked.calls)
        tenant_id, _ = newest_tenant(stack)
        numbers = [str(FIRST_MOBILE + number) for number in range(asked.calls)]
        wanted = {f"+86{number}" for number in numbers}
        if stack.pbx is None:
            raise LookupError("no PBX")
        load = stack.pbx.caller.place(
            numbers, LOAD_DID, TALK_S, calls=asked.calls, rate_per_s=asked.rate, media=False
        )
        load.spawn()
        caused: Counter[str] = Counter()
        for name, cause in itertools.cycle(faults(stack).items()):
            for _ in range(round(PAUSE_S * 5)):
                if not load.alive:
                    break
                time.sleep(0.2)
            if not load.alive:
                break
            try:
                cause()
            except (OSError, subprocess.SubprocessError, LocalError) as error:
                print(f"{name}: {error}", flush=True)
                continue
            caused[name] += 1
            print(f"{name} at {time.strftime('%H:%M:%S')}", flush=True)
        try:
            until(lambda: settled(stack, tenant_id, wanted), timeout_s=PATIENCE_S)
        except AssertionError:
            print("not everything was told in time", flush=True)
        for name in stack.processes:
            stack.wait_healthy(name)
        calls, cards = read(stack, tenant_id)
        shown = open_cards(desks)
        for desk in desks:
            desk.close()
    by_number = Counter(number for number, _, _, _ in calls)
    whole = {number for number, state, lost, live in calls if state == "ended" and not lost and not live}
    result = {
        "calls": asked.calls,
        "lost": len(wanted - whole),
        "duplicates": sum(by_number.values()) - len(by_number),
        "ghosts": cards + shown + sum(live for _, _, _, live in calls),
        "faults": sum(caused.values()),
    }
    print(json.dumps(dict(caused)))
    print(json.dumps(result))
    return 1 if result["lost"] or result["duplicates"] or result["ghosts"] else 0


if __name__ == "__main__":
    sys.exit(main())
