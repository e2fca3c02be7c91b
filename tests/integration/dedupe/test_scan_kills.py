"""The worker of a scan killed with SIGKILL around its commits: every customer is looked at, each pair once."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from services.chassis.db import Store
from services.chassis.settings import Settings
from services.chassis.temporal import TemporalLink, WorkflowExecutionStatus
from services.chassis.tenancy import Tenant
from services.dedupe.store.tables import DuplicatePair, Scan
from services.dedupe.usecases import scans
from services.dedupe.workflows.contracts import scan_workflow_id
from tests.integration.dedupe.test_scans import groups, run, with_customers
from tests.support.histories import record
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[3]
# As many batches, and a last one that is not full.
BATCHES = 3
NAMES = [f"{chr(0x4E00 + 37 * n)}{chr(0x5000 + 53 * n)}机械厂" for n in range(BATCHES * scans.BATCH + 1)]
PAIR = ["成都知品科技有限公司", "知品科技（成都）公司"]
LIVES = ["1 before", "1 after", "2 before", "2 after"]


@pytest.mark.timeout(300)
def test_a_scan_goes_on_through_kill_9_before_and_after_its_commits(
    store: Store,
    main_tenant: Tenant,
    settings: Settings,
    environment: Mapping[str, str],
) -> None:
    """F166: where a scan is stands in the transaction that stores what it found."""
    with_customers(store, main_tenant, *NAMES, *PAIR)
    scan_id = run(store, main_tenant, scans.start_scan).scan_id
    link = TemporalLink(settings.temporal_address, settings.temporal_namespace)
    command = [sys.executable, "-m", "tests.integration.dedupe.dying_worker", *LIVES]
    with subprocess.Popen(
        command,
        # A scan asks customers for nothing.
        env={**os.environ, **environment, "CUSTOMERS_ADDRESS": "127.0.0.1:1"},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert link.deliver([("workflow_start", start_of(store, main_tenant, scan_id))]) == [None]
            until(lambda: finished(link, scan_id) or process.poll() is not None, 240)
            link.run(
                lambda client: record("dedupe", "scan", client.get_workflow_handle(scan_workflow_id(scan_id)))
            )
        finally:
            output, _ = process.communicate()
            link.close()
    # It died as often as it should have, and the last life went on.
    assert process.returncode == 0
    assert output.decode().split("\n")[:-1] == [f"alive {place}" for place in (*LIVES, "")]
    found = run(store, main_tenant, lambda tx: tx.session.get_one(Scan, (main_tenant.id, scan_id)))
    assert (found.scanned, found.finish_time is not None) == (len(NAMES) + len(PAIR), True)
    pairs = run(
        store,
        main_tenant,
        lambda tx: tx.session.scalars(
            select(DuplicatePair.low).where(DuplicatePair.tenant_id == main_tenant.id)
        ).all(),
    )
    assert found.found == len(pairs)
    assert set(PAIR) in groups(store, main_tenant)


def start_of(store: Store, tenant: Tenant, scan_id: str) -> dict[str, object]:
    """Return the scan's start as it waits in the outbox."""
    outbox = store.tables["outbox"]
    with store.transaction(tenant) as tx:
        bodies = tx.session.scalars(
            select(outbox.c.body).where(outbox.c.tenant_id == tenant.id, outbox.c.lane == "temporal")
        ).all()
    return next(dict(body) for body in bodies if body["id"] == scan_workflow_id(scan_id))


def finished(link: TemporalLink, scan_id: str) -> bool:
    """Tell whether a scan's workflow is over."""
    found = link.run(lambda client: client.get_workflow_handle(scan_workflow_id(scan_id)).describe())
    return found.status == WorkflowExecutionStatus.COMPLETED
