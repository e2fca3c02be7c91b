"""How many approvals a second go all the way: submitted, their approvers found, decided, their workflow over.

    python -m tests.bench.approvals [--approvals 300] [--callers 10]

`make bench-convert` calls `approvals_per_s` beside its own figures, on the stores that it started. Each approval is an
order of one manager's step, with the director's passed by the system: one start of a workflow, one activity, one
signal, and the rows and events of both. The worker is a process of its own, as in production; submissions and
decisions come from many threads, each its own transaction, as handlers and the API make them.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from temporalio.client import Client

from deploy.local.stores import PrivateStores
from services.approvals.__main__ import SERVICE, handlers
from services.approvals.store.queries import whole
from services.approvals.usecases.approvals import decide
from services.approvals.workflows.activities import ApprovalActivities
from services.approvals.workflows.contracts import QUEUE, approval_workflow_id
from services.approvals.workflows.workflow import ApprovalWorkflow
from services.chassis.db import Store
from services.chassis.ids import derive_id, new_id
from services.chassis.service import migrate
from services.chassis.settings import Settings
from services.chassis.temporal import WorkerBundle, run_workers
from services.chassis.tenancy import Tenant
from tests.support.running import event_of, relaying, take

MANAGER = derive_id("bench", "manager")
# How often a caller looks whether its approval is prepared, in seconds.
LOOK_S = 0.05
# More than any run needs: a run that stalls ends with an error.
PATIENCE_S = 300.0


class Directory:
    """One manager over everybody: what identity answers is not what is measured."""

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        """Return the manager, whatever the role."""
        return [MANAGER]

    def heads(self, tenant: Tenant, person_id: str, department_id: str) -> list[str]:
        """Return the manager as every superior."""
        return [MANAGER]

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        """Let the manager decide."""
        return person_id == MANAGER


def approvals_per_s(environ: Mapping[str, str], *, count: int = 300, callers: int = 10) -> float:
    """Return how many approvals a second end, `callers` at work at once.

    environ: of a service's process (DATABASE_URL, AMQP_URL, TEMPORAL_ADDRESS, ...); approvals' schema is brought up to
    date in it. The first tenth of the approvals warms everything up and is not counted. Raises TimeoutError when an
    approval does not end.
    """
    settings = Settings.read(environ)
    migrate([SERVICE], settings)
    runtime = SERVICE.runtime(settings, environ)
    tenant = Tenant(new_id(), "main")
    command = [sys.executable, "-m", "tests.bench.approvals", "--work"]
    with subprocess.Popen(command, env={**os.environ, **environ}) as worker, relaying(runtime):
        try:
            _round(runtime.store, settings, tenant, max(1, count // 10), callers)
            started = time.perf_counter()
            _round(runtime.store, settings, tenant, count, callers)
            return count / (time.perf_counter() - started)
        finally:
            worker.terminate()
            runtime.store.close()


def _round(store: Store, settings: Settings, tenant: Tenant, count: int, callers: int) -> None:
    """Bring approvals to their end, and their workflows."""
    with ThreadPoolExecutor(callers) as threads:
        ids = list(threads.map(lambda _: _one(store, tenant), range(count)))
    asyncio.run(asyncio.wait_for(_ended(settings, ids), PATIENCE_S))


def _one(store: Store, tenant: Tenant) -> str:
    """Submit an order, wait until it is prepared, pass it; return the approval's id."""
    data = {
        "orderId": new_id(),
        "number": "SO-1",
        "title": "空调 10 台",
        "amount": "100.00",
        "submitterId": new_id(),
        "shown": [{"name": "amount", "value": "100.00"}],
    }
    event = event_of(tenant, "orders", "order_submitted", data)
    take(store, handlers(), event)
    approval_id = derive_id("approval", event.id)
    until = time.perf_counter() + PATIENCE_S
    while True:
        with store.transaction(tenant) as tx:
            approval = whole(tx, approval_id).approval
        if approval.open_step == 0:
            break
        if time.perf_counter() > until:
            raise TimeoutError(f"{approval_id} was not prepared")
        time.sleep(LOOK_S)
    with store.transaction(tenant, MANAGER) as tx:
        decide(
            tx,
            approval_id,
            step_index=0,
            decider_id=MANAGER,
            quoted_hash=approval.shown_hash,
            comment="",
            passed=True,
        )
    return approval_id


async def _ended(settings: Settings, ids: list[str]) -> None:
    """Wait for the end of every workflow."""
    client = await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
    await asyncio.gather(*(client.get_workflow_handle(approval_workflow_id(each)).result() for each in ids))


def work() -> None:
    """Work for approvals until terminated."""
    settings = Settings.read(os.environ)
    activities = ApprovalActivities(SERVICE.runtime(settings, os.environ).store, Directory())
    bundle = WorkerBundle(QUEUE, [ApprovalWorkflow], activities.all())
    asyncio.run(
        run_workers(settings.temporal_address, settings.temporal_namespace, [bundle], asyncio.Event())
    )


def main() -> None:
    """Measure and print, or work for what measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--approvals", type=int, default=300)
    parser.add_argument("--callers", type=int, default=10)
    parser.add_argument("--work", action="store_true", help="be the worker of a run")
    asked = parser.parse_args()
    if asked.work:
        work()
        return
    with PrivateStores(databases=("main",), given={}) as stores:
        environ = {
            "DATABASE_URL": stores.database_urls["main"],
            "AMQP_URL": stores.amqp_url,
            "TEMPORAL_ADDRESS": stores.temporal_address,
            "SIGNING_KEYS": "{}",
            "TRUSTED_KEYS": "{}",
        }
        figure = approvals_per_s(environ, count=asked.approvals, callers=asked.callers)
    print(
        json.dumps(
            {"approvals": asked.approvals, "callers": asked.callers, "approvals_per_s": round(figure, 1)}
        )
    )


if __name__ == "__main__":
    main()
