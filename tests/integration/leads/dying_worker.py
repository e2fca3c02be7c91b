"""Leads' worker as a program that kills itself with SIGKILL where a test says so, and is started again.

    python -m tests.integration.leads.dying_worker FOLDER

FOLDER/<conversion id> holds the places, one a line: "before leads.plan_conversion", "after leads.plan_conversion"
(its effect is committed, Temporal does not know it yet). Each place kills once. Ends when its standard input does.
"""

import asyncio
import functools
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from temporalio import activity

from services.chassis.settings import Settings
from services.chassis.temporal import WorkerBundle, run_workers
from services.leads.__main__ import SERVICE, worker
from services.leads.workflows import contracts


def conversion_of(payload: Any) -> str:
    """Return the id of the conversion that an activity works for."""
    ref: contracts.ConversionRef = getattr(payload, "conversion", payload)
    return ref.conversion_id


def die_if_told(folder: Path, conversion_id: str, place: str) -> None:
    """Kill this process the first time that it comes by here."""
    plan = folder / conversion_id
    if not plan.exists() or place not in plan.read_text().splitlines():
        return
    try:
        (folder / f"{conversion_id} {place}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(function: Callable[..., Any], name: str, folder: Path) -> Callable[..., Any]:
    """Return an activity with a place to die before and after it."""

    @activity.defn(name=name)
    # Not its dictionary: the activity's definition is in there.
    @functools.wraps(function, updated=())
    def run(payload: Any) -> Any:
        die_if_told(folder, conversion_of(payload), f"before {name}")
        answer = function(payload)
        die_if_told(folder, conversion_of(payload), f"after {name}")
        return answer

    return run


def live(folder: Path) -> None:
    """Be the worker until killed."""
    settings = Settings.read(os.environ)
    bundle = worker(SERVICE.runtime(settings, os.environ))
    names = (
        contracts.BEGIN,
        contracts.PLAN,
        contracts.RESERVE,
        contracts.WRITE_CUSTOMER,
        contracts.FINISH,
        contracts.ABORT,
    )
    # Every one of a conversion's, or this does not start; the pool's sweep and the pushes live on.
    *conversion, sweep, push = bundle.activities
    activities = [mortal(function, name, folder) for function, name in zip(conversion, names, strict=True)]
    asyncio.run(
        run_workers(
            settings.temporal_address,
            settings.temporal_namespace,
            [WorkerBundle(bundle.queue, bundle.workflows, [*activities, sweep, push])],
            asyncio.Event(),
        )
    )


def main() -> int:
    """Start the worker, and again whenever it died, until standard input ends."""
    folder = Path(sys.argv[1])
    while True:
        # Forked with every module loaded, so that the next life begins at once.
        child = os.fork()
        if child == 0:
            try:
                live(folder)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        ended = os.pidfd_open(child)
        readable, _, _ = select.select([sys.stdin, ended], [], [])
        os.close(ended)
        if sys.stdin in readable:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 0
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return 1


if __name__ == "__main__":
    sys.exit(main())
