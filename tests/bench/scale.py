"""The same load on one, two and four replicas of everything: python -m tests.bench.scale [--seconds 15].

    make bench-scale

On a machine with as many cores as replicas this would show how it scales; on two it shows that more replicas do no
harm, and what a request costs: the processors' time of every process, stores too, over the requests. The last line is
one JSON object: cores, rps_1, rps_2, rps_4, cpu_ms (of a request, by who spent it).
"""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

from deploy.local.stack import Stack
from tests.chaos.load import Person, found

REPLICAS = (1, 2, 4)
CLIENTS = 8
# Before it counts, in seconds: connections, plans and caches are there then.
WARM_UP_S = 3.0


def mixed(person: Person, stop: threading.Event, answered: Counter[str]) -> None:
    """Do what a rep's page does: three looks, then a change."""
    for number in range(1_000_000_000):
        if stop.is_set():
            return
        if number % 4 == 3:
            person.post("customers", name=f"压测{os.urandom(6).hex()}")
            answered["write"] += 1
        else:
            person.send("GET", ("me", "customers:settings", "customers?pageSize=20")[number % 4])
            answered["read"] += 1


def cpu_s(stack: Stack) -> dict[str, float]:
    """Return the processors' seconds that each kind of process, with its children, has used so far."""
    used: defaultdict[str, float] = defaultdict(float)
    for name, process in stack.processes.items():
        used[name.partition("-")[0]] += used_s(process.pid or 0)
    return used


def used_s(pid: int) -> float:
    """Return the processors' seconds that a process, with its children, has used so far."""
    ticks = 0
    for each in (pid, *children(pid)):
        try:
            words = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return all that a process started, and they."""
    try:
        own = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return own + [below for each in own for below in children(each)]


def measure(replicas: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Return the requests a second on so many replicas, and what each cost, in ms of a processor, by process."""
    given = {**os.environ, "REQUESTS_PER_SECOND": "0"}
    with Stack(
        api_replicas=replicas,
        gateway_replicas=replicas,
        background_replicas=replicas,
        simulators=False,
        given=given,
        say=lambda line: print(line, flush=True),
    ) as stack:
        _, _, people = found(stack, CLIENTS)
        stop, answered = threading.Event(), Counter[str]()
        threads = [threading.Thread(target=mixed, args=(person, stop, answered)) for person in people]
        for thread in threads:
            thread.start()
        time.sleep(WARM_UP_S)
        before, begin, used = answered.total(), time.monotonic(), cpu_s(stack)
        time.sleep(seconds)
        requests, took_s = answered.total() - before, time.monotonic() - begin
        spent = cpu_s(stack)
        stop.set()
        for thread in threads:
            thread.join()
        for person in people:
            person.close()
    cost = {name: round((spent[name] - used[name]) * 1000 / requests, 2) for name in spent}
    return round(requests / took_s, 1), {name: ms for name, ms in cost.items() if ms >= 0.05}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15)
    asked = parser.parse_args()
    result: dict[str, object] = {"cores": os.cpu_count()}
    for replicas in REPLICAS:
        rps, cost = measure(replicas, asked.seconds)
        result[f"rps_{replicas}"] = rps
        result.setdefault("cpu_ms", cost)
        print(json.dumps(result), flush=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
