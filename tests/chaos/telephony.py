"""Calls go on while everything around them breaks: none is lost, none is there twice, no card is left over.

    make chaos-telephony        2,000 calls through the real PBX; faults one after the other until they are over

The faults, in turn: the AMI connection is cut, the edge is killed (-9), RabbitMQ is killed, PostgreSQL is killed. Each
call comes from a number of its own; one in ten gives up before anybody answers. The witnesses are the PBX's own call
records and queue_log, which the product neither reads nor writes: they tell of each call, whether and which agent
talked, and for how long. The last line is one JSON object:

    calls       that the PBX itself wrote down
    lost        those that are not there, or not as the PBX tells: over or not, talked or missed, with which agent, how
                long; and missed ones that are not in the queue of missed calls, once, or talks that are
    duplicates  calls beyond the first of a number
    ghosts      cards that ring or talk, and calls that live, when all is over; calls that the PBX never had
    faults      that were caused
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from deploy.local.errors import LocalError
from deploy.local.pbx.asterisk import PrivatePbx
from deploy.local.stack import Stack
from services.chassis.walls import EVERY_TENANT_OPTIONS
from tests.bench.pop import FIRST_MOBILE, LOAD_DID, prepare
from tests.e2e.desk import Desk
from tests.support.queue_log import Heard, read_callers, read_queue_log
from tests.support.until import until

# Seconds of a call from the PBX's answer on: the phones answer after one, and most callers give up later than that.
TALK_S = 4.0
GIVE_UP_S = 0.5
# Of so many callers one gives up.
PATIENT = 10
# Between two faults, in seconds: the system has come back from one before the next.
PAUSE_S = 12.0
# How long everything may take to be told when the last call is over, in seconds.
PATIENCE_S = 180.0
# How far a talk may be from what the PBX tells, in seconds: it counts whole ones, and an event has its time of arrival.
TOLERANCE_S = 2.0

CALLS = """
SELECT call.number, call.state, call.lost, call.end_time IS NOT NULL AS over,
    coalesce(extract(epoch FROM call.end_time - call.answer_time), 0)::float AS talk_s,
    ARRAY(SELECT leg.extension FROM telephony.leg WHERE leg.call_id = call.id AND leg.answer_time IS NOT NULL
        ORDER BY leg.answer_time) AS agents,
    coalesce((SELECT missed.call_count FROM telephony.missed_caller AS missed
        WHERE missed.tenant_id = call.tenant_id AND missed.number = call.number), 0)::int AS to_call_back
FROM telephony.call WHERE call.tenant_id = %(tenant)s
"""
CARDS = """
SELECT count(*) FROM telephony.pop WHERE tenant_id = %(tenant)s AND state IN ('ringing', 'talking')
"""


@dataclass(frozen=True)
class Told:
    """Hold a call as the product has it; to_call_back counts the number's item in the queue of missed calls."""

    number: str
    state: str
    lost: bool
    over: bool
    talk_s: float
    agents: Sequence[str]
    to_call_back: int


def faults(stack: Stack, pbx: PrivatePbx) -> Mapping[str, Callable[[], object]]:
    """Return what can be broken, each by its name; what was killed starts again by itself."""
    return {
        "ami": pbx.cut_manager,
        "edge": lambda: stack.kill("pbx"),
        "rabbitmq": lambda: stack.kill("rabbitmq"),
        "postgresql": lambda: stack.kill("postgresql"),
    }


def read(stack: Stack, tenant_id: str) -> tuple[list[Told], int]:
    """Return a tenant's calls, and how many cards ring or talk."""
    with psycopg.connect(stack.stores.database_urls["main"], options=EVERY_TENANT_OPTIONS) as database:
        calls = database.cursor(row_factory=class_row(Told)).execute(CALLS, {"tenant": tenant_id}).fetchall()
        row = database.execute(CARDS, {"tenant": tenant_id}).fetchone()
    return calls, row[0] if row else 0


def witnessed(pbx: PrivatePbx) -> list[Heard]:
    """Return each call as the PBX tells of it."""
    heard = {one.number: one for one in read_queue_log(pbx.queue_log).values()}
    # Who hung up at once never came into the queue.
    early = read_callers(pbx.call_records, "from-trunk") - heard.keys()
    return [*heard.values(), *map(Heard, early)]


def amiss(call: Told | None, heard: Heard, tolerance_s: float = TOLERANCE_S) -> str:
    """Return what is wrong with a call, by what the PBX heard of it; "" for nothing."""
    if call is None:
        return "missing"
    if not call.over:
        return "still live"
    if call.lost:
        return "marked lost"
    if call.state != ("ended" if heard.agents else "missed"):
        return f"{call.state}, though {len(heard.agents)} talked"
    if tuple(call.agents) != heard.agents:
        return "another agent"
    if abs(call.talk_s - heard.talk_s) > tolerance_s:
        return f"talked {call.talk_s:.1f} s, not {heard.talk_s:.1f}"
    if call.to_call_back != (0 if heard.agents else 1):
        return f"{call.to_call_back} times to call back"
    return ""


def compare(
    calls: Sequence[Told], heard: Sequence[Heard], tolerance_s: float = TOLERANCE_S
) -> dict[str, str]:
    """Return by number what is wrong with each call; a talk may be so many seconds off."""
    found = {call.number.removeprefix("+86"): call for call in calls}
    wrong = {one.number: amiss(found.get(one.number), one, tolerance_s) for one in heard}
    return {number: why for number, why in wrong.items() if why}


def settled(stack: Stack, tenant_id: str, heard: Sequence[Heard], tolerance_s: float = TOLERANCE_S) -> bool:
    """Tell whether everything is as it was."""
    try:
        calls, cards = read(stack, tenant_id)
    except psycopg.Error:
        return False
    return not cards and not compare(calls, heard, tolerance_s)


def open_cards(desks: Sequence[Desk]) -> int:
    """Return how many cards the agents' pages would show as ringing or talking."""
    states = ("POP_STATE_RINGING", "POP_STATE_TALKING")
    return sum(pop["state"] in states for desk in desks for pop in desk.get("pops").get("pops", []))


def break_things(stack: Stack, pbx: PrivatePbx, numbers: Sequence[str], rate: int) -> Counter[str]:
    """Place calls from these numbers, and break one thing after the other until they are over; return what broke."""
    caller = pbx.caller
    hasty, patient = numbers[::PATIENT], [number for place, number in enumerate(numbers) if place % PATIENT]
    loads = [
        caller.place(callers, LOAD_DID, seconds, calls=len(callers), rate_per_s=max(1, pace), media=False)
        for callers, seconds, pace in (
            (patient, TALK_S, rate - rate // PATIENT),
            (hasty, GIVE_UP_S, rate // PATIENT),
        )
    ]
    for load in loads:
        load.spawn()
    caused: Counter[str] = Counter()
    for name, cause in itertools.cycle(faults(stack, pbx).items()):
        for _ in range(round(PAUSE_S * 5)):
            if any(load.alive for load in loads):
                time.sleep(0.2)
        if not any(load.alive for load in loads):
            return caused
        try:
            cause()
        except (OSError, subprocess.SubprocessError, LocalError) as error:
            print(f"{name}: {error}", flush=True)
            continue
        caused[name] += 1
        print(f"{name} at {time.strftime('%H:%M:%S')}", flush=True)
    return caused


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
        if stack.pbx is None:
            raise LookupError("no PBX")
        team = prepare(stack, asked.calls)
        desks, tenant_id = list(team.desks.values()), team.tenant_id
        numbers = [str(FIRST_MOBILE + number) for number in range(asked.calls)]
        caused = break_things(stack, stack.pbx, numbers, asked.rate)
        heard = witnessed(stack.pbx)
        try:
            until(lambda: settled(stack, tenant_id, heard), timeout_s=PATIENCE_S)
        except AssertionError:
            print("not everything was told in time", flush=True)
        for name in stack.processes:
            stack.wait_healthy(name)
        calls, cards = read(stack, tenant_id)
        shown = open_cards(desks)
        for desk in desks:
            desk.close()
    wrong = compare(calls, heard)
    kinds: dict[str, list[str]] = defaultdict(list)
    for number, why in wrong.items():
        kinds[why].append(number)
    for why, those in kinds.items():
        print(f"{len(those)} calls: {why}: {', '.join(sorted(those)[:5])}")
    known = {one.number for one in heard}
    by_number = Counter(call.number.removeprefix("+86") for call in calls)
    print(json.dumps({"placed": asked.calls, "talks": sum(bool(one.agents) for one in heard), **caused}))
    result = {
        "calls": len(heard),
        "lost": len(wrong),
        "duplicates": by_number.total() - len(by_number),
        "ghosts": cards + shown + sum(not call.over for call in calls) + len(by_number.keys() - known),
        "faults": caused.total(),
    }
    print(json.dumps(result))
    return 1 if result["lost"] or result["duplicates"] or result["ghosts"] else 0


if __name__ == "__main__":
    sys.exit(main())
