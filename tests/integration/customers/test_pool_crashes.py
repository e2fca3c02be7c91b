"""The worker dies at random places of a mass reclaim and of a hand-over: nothing is half done, nothing twice."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from services.chassis.db import Store
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.temporal import TemporalLink
from services.chassis.tenancy import Tenant
from services.customers.__main__ import SERVICE
from services.customers.domain.customers import Cause, CustomerDraft
from services.customers.store.tables import Customer, EvidenceSource, OwnershipChange
from services.customers.usecases import sweeps
from services.customers.usecases.create import create_customer
from services.customers.usecases.evidence import SOURCES
from services.customers.usecases.hand_overs import HandOverDraft, start_hand_over
from services.customers.usecases.pool_moves import claim_customers
from services.customers.usecases.settings import PoolDraft, create_pool
from services.kernel.ownership import ReclaimRule
from tests.integration.customers.test_crashes import ROOT
from tests.integration.customers.test_interleavings import owner, person
from tests.support.histories import record
from tests.support.running import working
from tests.support.until import until

# Customers that move, deaths before somebody stays alive, and the last transaction to die at.
CUSTOMERS = 40
KILLS = 2
PLACES = 5


def neglected(store: Store, tenant: Tenant) -> tuple[list[dict[str, object]], Callable[[], bool]]:
    """Make customers that are due, their owner warned; return what starts the sweep, and whether it is over."""
    rep, now = person(tenant), store.clock()
    past = now - timedelta(days=20)
    with store.transaction(tenant, now=past) as tx:
        pool_id = create_pool(tx, PoolDraft("公海二", ReclaimRule(10, 1), (), 0)).pool_id
        ids = [
            create_customer(tx, rep, CustomerDraft(new_id(), "公司", pool_id=pool_id), new_id()).customer_id
            for _ in range(CUSTOMERS)
        ]
        for start in range(0, CUSTOMERS, 10):
            claim_customers(tx, rep, ids[start : start + 10])
        tx.session.add_all(
            EvidenceSource(
                tenant_id=tenant.id, source=source, asked_time=now, through_time=now + timedelta(days=1)
            )
            for source in SOURCES
        )
    with store.transaction(tenant, now=now - timedelta(days=2)) as tx:
        assert sweeps.warn(tx, pool_id, CUSTOMERS) == CUSTOMERS
    return starts(store, tenant, f"pool-{pool_id}"), lambda: not owned(store, tenant, rep.person_id)


def leaving(store: Store, tenant: Tenant) -> tuple[list[dict[str, object]], Callable[[], bool]]:
    """Make a leaver with customers; return what starts the hand-over, and whether it is over."""
    leaver, manager = person(tenant), person(tenant, "pools.manage", scope="all")
    to = (owner(person(tenant)), owner(person(tenant)))
    with store.transaction(tenant) as tx:
        for _ in range(CUSTOMERS):
            create_customer(tx, leaver, CustomerDraft(new_id(), "公司"), new_id())
        begun = start_hand_over(tx, manager, HandOverDraft(owner(leaver), to, "", "离职"))
        hand_over_id = begun.row.hand_over_id
    return (
        starts(store, tenant, f"hand-over-{hand_over_id}"),
        lambda: not owned(store, tenant, leaver.person_id),
    )


def owned(store: Store, tenant: Tenant, person_id: str) -> int:
    """Return how many customers somebody owns."""
    with store.transaction(tenant) as tx:
        query = select(Customer).where(Customer.tenant_id == tenant.id, Customer.owner_id == person_id)
        return len(tx.session.scalars(query).all())


def starts(store: Store, tenant: Tenant, workflow_id: str) -> list[dict[str, object]]:
    """Return the workflow's start as it waits in the outbox."""
    outbox = store.tables["outbox"]
    with store.transaction(tenant) as tx:
        bodies = tx.session.scalars(
            select(outbox.c.body).where(outbox.c.tenant_id == tenant.id, outbox.c.lane == "temporal")
        ).all()
    return [body for body in bodies if body["id"] == workflow_id][:1]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("prepare", "cause"),
    [(neglected, Cause.RECLAIM), (leaving, Cause.HAND_OVER)],
    ids=["reclaim", "hand over"],
)
def test_a_killed_worker_leaves_nothing_half_done_and_nothing_twice(
    prepare: Callable[[Store, Tenant], tuple[list[dict[str, object]], Callable[[], bool]]],
    cause: Cause,
    settings: Settings,
    environment: Mapping[str, str],
    addresses: Mapping[str, str],
    store: Store,
    main_tenant: Tenant,
) -> None:
    (start,), is_over = prepare(store, main_tenant)
    seed = random.randrange(10**6)  # noqa: S311 - a place to die is no secret
    dice = random.Random(seed)  # noqa: S311 - as above
    link = TemporalLink(settings.temporal_address, settings.temporal_namespace)
    assert link.deliver([("workflow_start", start)]) == [None]
    try:
        for _ in range(KILLS):
            place = [str(dice.randint(2, PLACES)), dice.choice(["before", "after"])]
            command = [sys.executable, "-m", "tests.integration.customers.dying_sweeper", *place]
            with subprocess.Popen(command, env={**os.environ, **environment}, cwd=ROOT) as process:
                try:
                    # Little may be left to do, and nothing to die at: then it is over, and the worker alive.
                    until(lambda process=process: process.poll() is not None or is_over(), 40)  # type: ignore[misc]  # mypy infers no lambda's default
                finally:
                    process.kill()
            check_whole(store, main_tenant, cause, seed)
        runtime = SERVICE.runtime(replace(settings, addresses=addresses), {})
        assert SERVICE.worker
        with working(runtime, SERVICE.worker(runtime)):
            until(is_over, 60)
            name = "sweep" if cause is Cause.RECLAIM else "hand_over"
            link.run(lambda client: record("customers", name, client.get_workflow_handle(str(start["id"]))))
        runtime.store.close()
    finally:
        link.close()
    assert check_whole(store, main_tenant, cause, seed) == CUSTOMERS, f"seed {seed}"


def check_whole(store: Store, tenant: Tenant, cause: Cause, seed: int) -> int:
    """Every customer is as its ledger says, moved at most once, told exactly as often; return how many moved."""
    outbox = store.tables["outbox"]
    with store.transaction(tenant) as tx:
        ledger = tx.session.scalars(
            select(OwnershipChange)
            .where(OwnershipChange.tenant_id == tenant.id)
            .order_by(OwnershipChange.sequence)
        ).all()
        owners = {
            row.customer_id: row.owner_id
            for row in tx.session.scalars(select(Customer).where(Customer.tenant_id == tenant.id))
        }
        told = [
            body["data"]["customerId"]
            for body in tx.session.scalars(select(outbox.c.body).where(outbox.c.tenant_id == tenant.id))
            if body.get("type") in ("customer_reclaimed", "customer_transferred")
        ]
    moved = Counter(change.customer_id for change in ledger if change.cause == cause)
    assert max(moved.values(), default=1) == 1, f"seed {seed}"
    assert Counter(told) == moved, f"seed {seed}"
    assert {change.customer_id: change.to_owner_id for change in ledger} == owners, f"seed {seed}"
    return moved.total()
