"""The worker that sweeps for the bench: a process of its own, as in production."""

import asyncio
import os

from services.chassis.settings import Settings
from services.chassis.temporal import WorkerBundle, run_workers
from services.customers.__main__ import SERVICE
from services.customers.workflows.activities import Activities
from services.customers.workflows.contracts import QUEUE
from services.customers.workflows.workflow import SweepPool

# Said on its standard output when it begins to ask for work.
READY = "ready"


def main() -> None:
    """Work until terminated."""
    settings = Settings.read(os.environ)
    activities = Activities(SERVICE.runtime(settings, os.environ).store)
    bundle = WorkerBundle(QUEUE, [SweepPool], [activities.sweep])
    print(READY, flush=True)
    asyncio.run(
        run_workers(settings.temporal_address, settings.temporal_namespace, [bundle], asyncio.Event())
    )


if __name__ == "__main__":
    main()
