"""Dedupe's worker as a program that kills itself with SIGKILL at one of its transactions, and is started again.

    python -m tests.integration.dedupe.dying_worker "1 before" "2 after" ...

Each argument is one life: which transaction of it, from 1, and whether it dies "before" its commit, all its statements
done, or right "after" it, when Temporal does not know yet. The life behind the last argument goes on. Says "alive" at
the beginning of each life, and ends when its standard input does.
"""

import asyncio
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub
from temporalio.client import Client
from temporalio.worker import Worker

from services.chassis.db import Store, Transaction
from services.chassis.settings import Settings
from services.dedupe.__main__ import SERVICE
from services.dedupe.clients import Customers
from services.dedupe.workflows.activities import Activities
from services.dedupe.workflows.contracts import QUEUE
from services.dedupe.workflows.workflow import ScanDuplicates


class MortalStore(Store):
    """A store that may not come back from a transaction."""

    def __init__(self, store: Store, place: str) -> None:
        super().__init__(store.urls, SERVICE.metadata(), store.clock)
        number, self._moment = place.split()
        self._left = int(number)

    @contextmanager
    def transaction(self, *arguments: Any, **named: Any) -> Iterator[Transaction]:
        """Open a transaction, and die where told."""
        with super().transaction(*arguments, **named) as tx:
            yield tx
            self._left -= 1
            tx.session.flush()
            self._die_at("before")
        self._die_at("after")

    def _die_at(self, moment: str) -> None:
        if self._left == 0 and self._moment == moment:
            os.kill(os.getpid(), signal.SIGKILL)


async def work(place: str) -> None:
    """Be the worker until killed."""
    settings = Settings.read(os.environ)
    runtime = SERVICE.runtime(settings, os.environ)
    store = MortalStore(runtime.store, place) if place else runtime.store
    activities = Activities(store, Customers(runtime.client("customers", CustomersServiceStub)))
    client = await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
    with ThreadPoolExecutor(2) as threads:
        await Worker(
            client,
            task_queue=QUEUE,
            workflows=[ScanDuplicates],
            activities=[activities.scan_batches],
            activity_executor=threads,
            # Nothing is kept for a worker that will not come back: the next one replays at once.
            max_cached_workflows=0,
        ).run()


def main() -> int:
    """Live each life in a process of its own, until standard input ends."""
    for place in (*sys.argv[1:], ""):
        # Forked with every module loaded, so that the next life begins at once.
        child = os.fork()
        if child == 0:
            try:
                sys.stdout.write(f"alive {place}\n")
                sys.stdout.flush()
                asyncio.run(work(place))
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        ended = os.pidfd_open(child)
        readable, _, _ = select.select([sys.stdin, ended], [], [])
        os.close(ended)
        if sys.stdin in readable:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 0 if not place else 2
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return 1
    return 3


if __name__ == "__main__":
    sys.exit(main())
