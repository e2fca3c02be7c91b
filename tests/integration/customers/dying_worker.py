"""The worker of customers as a program that kills itself with SIGKILL at one of its transactions.

    python -m tests.integration.customers.dying_worker NUMBER PLACE

NUMBER: which transaction, from 1. PLACE: "before" its commit, all its statements done, or right "after" it.
"""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub

from services.chassis.db import Store, Transaction
from services.chassis.settings import Settings
from services.chassis.temporal import WorkerBundle, run_workers
from services.customers.__main__ import SERVICE
from services.customers.clients import Dedupe
from services.customers.workflows.import_activities import ImportActivities, ImportSteps
from services.customers.workflows.import_contracts import QUEUE
from services.customers.workflows.import_workflow import RunImport


class MortalStore(Store):
    """A store that may not come back from a transaction."""

    def __init__(self, store: Store, number: int, place: str) -> None:
        super().__init__(store.urls, SERVICE.metadata(), store.clock)
        self._numbers = itertools.count(1)
        self._last = number, place

    @contextmanager
    def transaction(self, *arguments: Any, **named: Any) -> Iterator[Transaction]:
        """Open a transaction, and die where told."""
        with super().transaction(*arguments, **named) as tx:
            yield tx
            # Each has its own: another batch is prepared meanwhile, in a thread of its own.
            number = next(self._numbers)
            tx.session.flush()
            self._die_at(number, "before")
        self._die_at(number, "after")

    def _die_at(self, number: int, place: str) -> None:
        if (number, place) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Work until death."""
    settings = Settings.read(os.environ)
    runtime = SERVICE.runtime(settings, os.environ)
    store = MortalStore(runtime.store, int(sys.argv[1]), sys.argv[2])
    steps = ImportSteps(store, Dedupe(runtime.client("dedupe", DedupeServiceStub)))
    bundle = WorkerBundle(QUEUE, [RunImport], ImportActivities(steps).all)
    asyncio.run(
        run_workers(settings.temporal_address, settings.temporal_namespace, [bundle], asyncio.Event())
    )


if __name__ == "__main__":
    main()
