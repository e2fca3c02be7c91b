"""The worker of pools as a program that kills itself with SIGKILL at one of its transactions.

    python -m tests.integration.customers.dying_sweeper NUMBER PLACE

NUMBER: which transaction, from 1. PLACE: "before" its commit, all its statements done, or right "after" it.
"""

import asyncio
import os
import sys

from services.chassis.settings import Settings
from services.chassis.temporal import WorkerBundle, run_workers
from services.customers.__main__ import SERVICE
from services.customers.workflows.activities import Activities
from services.customers.workflows.contracts import QUEUE
from services.customers.workflows.workflow import HandOverCustomers, SweepPool
from tests.integration.customers.dying_worker import MortalStore

# Customers in a transaction: few, so that there are many places to die.
BATCH = 7


def main() -> None:
    """Work until death."""
    settings = Settings.read(os.environ)
    store = MortalStore(SERVICE.runtime(settings, os.environ).store, int(sys.argv[1]), sys.argv[2])
    activities = Activities(store, BATCH)
    bundle = WorkerBundle(QUEUE, [SweepPool, HandOverCustomers], [activities.sweep, activities.hand_over])
    asyncio.run(
        run_workers(settings.temporal_address, settings.temporal_namespace, [bundle], asyncio.Event())
    )


if __name__ == "__main__":
    main()
