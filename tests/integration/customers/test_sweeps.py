"""Falling back into the pool: the real workflow over real databases, with time skipped and not slept."""

import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from services.chassis.db import Store, Transaction
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.customers import CustomerDraft
from services.customers.store.rules import follow_edit, get_pool, tenant_settings
from services.customers.store.tables import Customer, EvidenceSource, OwnershipChange
from services.customers.usecases import care, sweeps
from services.customers.usecases.create import create_customer
from services.customers.usecases.evidence import SOURCES
from services.customers.usecases.pool_moves import claim_customers
from services.customers.usecases.settings import PoolDraft, create_pool, update_pool
from services.customers.workflows.activities import Activities
from services.customers.workflows.contracts import QUEUE, SWEEP_NOW, SWEEP_POOL, Sweep, sweep_workflow_id
from services.customers.workflows.workflow import SweepPool
from services.kernel.ownership import Clause, ReclaimRule

TEST_SERVER = str(Path(sys.executable).parent / "temporal-test-server")


@dataclass
class Shop:
    """A tenant whose rep neglects customers, at the times of Temporal's clock."""

    environment: WorkflowEnvironment
    store: Store
    tenant: Tenant
    rep: Caller
    start: datetime

    def day(self, day: float) -> datetime:
        """Return the time so many days behind the start."""
        return self.start + timedelta(days=day)

    async def until_day(self, day: float) -> None:
        """Let time pass up to a day."""
        await self.environment.sleep(self.day(day) - await self.environment.get_current_time())

    def create(self, pool_id: str = "") -> str:
        """Let the rep own a customer since the start, claimed from a pool or of its own."""
        draft = CustomerDraft(id=new_id(), name=f"公司{new_id()[-4:]}", pool_id=pool_id)
        with self.store.transaction(self.tenant, now=self.start) as tx:
            create_customer(tx, self.rep, draft, new_id())
            if pool_id:
                claim_customers(tx, self.rep, [draft.id])
        return draft.id

    def pool(self, idle_days: int = 90, warn_days: int = 1) -> str:
        """Make a pool."""
        draft = PoolDraft(f"公海{new_id()[-6:]}", ReclaimRule(idle_days, warn_days), (), 0)
        with self.store.transaction(self.tenant, now=self.start) as tx:
            return create_pool(tx, draft).pool_id

    def rule(self, pool_id: str, rule: ReclaimRule) -> None:
        """Change a pool's rule."""
        with self.store.transaction(self.tenant) as tx:
            pool = get_pool(tx, pool_id)
            update_pool(tx, pool_id, pool.version, PoolDraft(pool.name, rule, (), 0))

    def sweep(self, step: Callable[[Transaction, str, int], int], pool_id: str, day: float) -> int:
        """Do a step of a sweep on a day."""
        with self.store.transaction(self.tenant, now=self.day(day)) as tx:
            return step(tx, pool_id, sweeps.BATCH)

    def follow_up(self, customer_id: str, day: float) -> None:
        """Let the rep work on a customer on a day."""
        with self.store.transaction(self.tenant, now=self.day(day)) as tx:
            care.add_follow_up(tx, self.rep, customer_id, f"第{day}天拜访")

    def lock(self, customer_id: str, day: float, days: int) -> None:
        """Let the rep lock a customer."""
        with self.store.transaction(self.tenant, now=self.day(day)) as tx:
            care.lock_customer(tx, self.rep, customer_id, days)

    def unlock(self, customer_id: str, day: float) -> None:
        """Let the rep unlock a customer."""
        with self.store.transaction(self.tenant, now=self.day(day)) as tx:
            care.unlock_customer(tx, self.rep, customer_id)

    async def sweeping(self, pool_id: str = "") -> WorkflowHandle[SweepPool, None]:
        """Start the sweeping of a pool, or wake it, as the outbox does."""
        sweep = Sweep(self.tenant, pool_id)
        handle: WorkflowHandle[SweepPool, None] = await self.environment.client.start_workflow(
            SWEEP_POOL, sweep, id=sweep_workflow_id(sweep), task_queue=QUEUE, start_signal=SWEEP_NOW
        )
        return handle

    def row(self, customer_id: str) -> Customer:
        """Return a customer's row."""
        with self.store.transaction(self.tenant) as tx:
            return tx.session.get_one(Customer, (self.tenant.id, customer_id))

    def owned(self, *customer_ids: str) -> list[bool]:
        """Tell which customers the rep still owns."""
        return [self.row(customer_id).owner_id == self.rep.person_id for customer_id in customer_ids]

    def events(self, event_type: str) -> list[str]:
        """Return the customers that events of a type are about."""
        outbox = self.store.tables["outbox"]
        query = select(outbox.c.body).where(outbox.c.tenant_id == self.tenant.id).order_by(outbox.c.id)
        with self.store.transaction(self.tenant) as tx:
            bodies = tx.session.scalars(query).all()
        return [body["data"]["customerId"] for body in bodies if body.get("type") == event_type]


@asynccontextmanager
async def working(
    environment: WorkflowEnvironment, store: Store, batch: int = sweeps.BATCH
) -> AsyncIterator[None]:
    """Host the workflow and its activity."""
    with ThreadPoolExecutor(4) as threads:
        async with Worker(
            environment.client,
            task_queue=QUEUE,
            workflows=[SweepPool],
            activities=[Activities(store, batch).sweep],
            activity_executor=threads,
        ):
            yield


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """Temporal with time to skip."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=TEST_SERVER
    ) as environment:
        yield environment


@pytest.fixture
async def shop(request: pytest.FixtureRequest, skipping: WorkflowEnvironment, store: Store) -> Shop:
    """A shop that opens now, in the home database unless another one is named."""
    tenant = Tenant(new_id(), getattr(request, "param", "main"))
    rep = Caller(
        tenant=tenant,
        person_id=new_id(),
        name="王小明",
        department_path="root/",
        rights=frozenset({"customers.follow", "customers.lock"}),
    )
    start = await skipping.get_current_time()
    with store.transaction(tenant) as tx:
        # What others have to tell has arrived, for all the time that is skipped.
        tx.session.add_all(
            EvidenceSource(
                tenant_id=tenant.id, source=source, asked_time=start, through_time=start + timedelta(days=999)
            )
            for source in SOURCES
        )
    return Shop(skipping, store, tenant, rep, start)


@pytest.mark.parametrize("shop", ["main", "south"], indirect=True)
async def test_a_neglected_customer_is_warned_of_on_day_89_and_falls_on_day_90(shop: Shop) -> None:
    """F14, F16, F17, O13: a locked one does not, one worked on does not."""
    neglected, locked, followed = (shop.create() for _ in range(3))
    shop.lock(locked, 60, 90)
    shop.follow_up(followed, 30)
    await shop.until_day(88.5)
    async with working(shop.environment, shop.store):
        await shop.sweeping()
        await shop.until_day(88.9)
        assert shop.events("reclaim_warned") == []
        await shop.until_day(89.1)
        assert shop.events("reclaim_warned") == [neglected]
        await shop.until_day(89.9)
        assert shop.owned(neglected, locked, followed) == [True, True, True]
        await shop.until_day(90.1)
        assert shop.owned(neglected, locked, followed) == [False, True, True]
        assert shop.events("customer_reclaimed") == [neglected]
    with shop.store.transaction(shop.tenant) as tx:
        default_pool_id = tenant_settings(tx).default_pool_id
        change = tx.session.scalars(
            select(OwnershipChange)
            .where(OwnershipChange.tenant_id == shop.tenant.id, OwnershipChange.customer_id == neglected)
            .order_by(OwnershipChange.sequence.desc())
        ).first()
    row = shop.row(neglected)
    assert (row.pool_id, row.warn_due_at, row.reclaim_due_at) == (default_pool_id, None, None)
    assert change
    assert (change.cause, change.from_owner_id, change.to_owner_id, change.reason, change.rule_version) == (
        "reclaim",
        shop.rep.person_id,
        None,
        "超过90天未跟进",
        1,
    )
    warned = datetime.fromisoformat(change.inputs["warned_time"])
    assert shop.day(89) <= warned <= shop.day(89.1)
    assert change.create_time - warned >= timedelta(days=1)


async def test_an_outage_over_the_day_of_the_warning_does_not_skip_it(shop: Shop) -> None:
    customer = shop.create()
    await shop.until_day(95)
    async with working(shop.environment, shop.store):
        await shop.sweeping()
        await shop.until_day(95.9)
        assert shop.events("reclaim_warned") == [customer]
        assert shop.owned(customer) == [True]
        # What the owner is told is what happens.
        due = shop.row(customer).reclaim_due_at
        assert due
        assert shop.day(96) <= due <= shop.day(96.1)
        await shop.until_day(96.2)
        assert shop.owned(customer) == [False]


async def test_work_after_the_warning_keeps_the_customer(shop: Shop) -> None:
    """F52."""
    customer = shop.create()
    await shop.until_day(89)
    async with working(shop.environment, shop.store):
        await shop.sweeping()
        await shop.until_day(89.5)
        assert shop.events("reclaim_warned") == [customer]
        shop.follow_up(customer, 89.5)
        await shop.until_day(91)
        assert shop.owned(customer) == [True]
    row = shop.row(customer)
    assert (row.warned_time, row.reclaim_due_at) == (None, shop.day(179.5))


async def test_a_lock_that_ends_is_followed_by_warning_and_reclaim(shop: Shop) -> None:
    """F14, F15: by itself, and by its owner."""
    expires, unlocked = (shop.create() for _ in range(2))
    shop.lock(expires, 89, 5)
    shop.lock(unlocked, 89, 90)
    await shop.until_day(93)
    async with working(shop.environment, shop.store):
        await shop.sweeping()
        await shop.until_day(93.9)
        assert shop.events("reclaim_warned") == []
        await shop.until_day(94.1)
        assert shop.events("reclaim_warned") == [expires]
        shop.unlock(unlocked, 94.1)
        await shop.sweeping()
        await shop.until_day(94.2)
        assert shop.events("reclaim_warned") == [expires, unlocked]
        await shop.until_day(95.3)
        assert shop.owned(expires, unlocked) == [False, False]


async def test_each_pool_has_its_rule_and_a_changed_rule_holds_from_the_next_sweep(shop: Shop) -> None:
    """F19, F26."""
    slow, fast = shop.pool(90), shop.pool(10)
    slow_one, fast_one = shop.create(slow), shop.create(fast)
    own = shop.create()
    await shop.until_day(9)
    async with working(shop.environment, shop.store):
        for pool_id in (slow, fast, ""):
            await shop.sweeping(pool_id)
        await shop.until_day(10.1)
        assert shop.owned(slow_one, fast_one, own) == [True, False, True]
        assert shop.row(fast_one).pool_id == fast
        shop.rule(slow, ReclaimRule(8, 2))
        await shop.sweeping(slow)
        await shop.until_day(10.2)
        assert shop.events("reclaim_warned") == [fast_one, slow_one]
        await shop.until_day(11.3)
        assert shop.owned(slow_one, fast_one, own) == [False, False, True]


async def test_a_rule_that_is_switched_off_takes_nothing_back(shop: Shop) -> None:
    pool = shop.pool(10)
    customer = shop.create(pool)
    await shop.until_day(9.5)
    async with working(shop.environment, shop.store):
        await shop.sweeping(pool)
        await shop.until_day(9.6)
        assert shop.events("reclaim_warned") == [customer]
        shop.rule(pool, ReclaimRule(0, 0))
        await shop.sweeping(pool)
        await shop.until_day(12)
        assert shop.owned(customer) == [True]
    assert shop.row(customer).reclaim_due_at is None


async def test_a_backlog_of_several_activities_is_swept(shop: Shop) -> None:
    pool = shop.pool()
    customers = [shop.create(pool) for _ in range(25)]
    await shop.until_day(200)
    async with working(shop.environment, shop.store, batch=1):
        await shop.sweeping(pool)
        await shop.until_day(200.5)
        assert sorted(shop.events("reclaim_warned")) == sorted(customers)
        await shop.until_day(201.1)
        assert not any(shop.owned(*customers))


async def test_a_customer_that_somebody_works_on_is_skipped(shop: Shop) -> None:
    """The exemptions stand in the predicate under which the row is locked."""
    customer = shop.create()
    with shop.store.transaction(shop.tenant, now=shop.day(89)) as tx:
        assert sweeps.warn(tx, "", sweeps.BATCH) == 1
    with shop.store.transaction(shop.tenant, now=shop.day(90)) as work:
        care.add_follow_up(work, shop.rep, customer, "最后一刻的拜访")
        with shop.store.transaction(shop.tenant, now=shop.day(90)) as tx:
            assert sweeps.reclaim(tx, "", sweeps.BATCH) == 0
    with shop.store.transaction(shop.tenant, now=shop.day(90)) as tx:
        assert sweeps.reclaim(tx, "", sweeps.BATCH) == 0
    assert shop.owned(customer) == [True]


async def test_nobody_is_taken_back_without_a_warning_a_day_before(shop: Shop) -> None:
    """Whatever the due time says."""
    customer = shop.create()
    with shop.store.transaction(shop.tenant, now=shop.day(95)) as tx:
        assert sweeps.reclaim(tx, "", sweeps.BATCH) == 0
        assert sweeps.warn(tx, "", sweeps.BATCH) == 1
        tx.session.execute(
            update(Customer).where(Customer.customer_id == customer).values(reclaim_due_at=shop.day(90))
        )
    with shop.store.transaction(shop.tenant, now=shop.day(95.9)) as tx:
        assert sweeps.reclaim(tx, "", sweeps.BATCH) == 0
    with shop.store.transaction(shop.tenant, now=shop.day(96)) as tx:
        assert sweeps.reclaim(tx, "", sweeps.BATCH) == 1


async def test_an_edit_moves_the_due_time_and_no_warning(shop: Shop) -> None:
    """F18: a clause for a level holds from the edit on; a warned owner wins no time by an edit."""
    pool_id = shop.pool(90)
    with shop.store.transaction(shop.tenant) as tx:
        rule = ReclaimRule(0, 1, clauses=(Clause(idle_days=90), Clause(idle_days=30, levels=("A",))))
        update_pool(tx, pool_id, 1, PoolDraft("分级公海", rule, (), 0))
    customer_id = shop.create(pool_id)

    def edit(level: str, day: float) -> Customer:
        with shop.store.transaction(shop.tenant, now=shop.day(day)) as tx:
            row = tx.session.get_one(Customer, (shop.tenant.id, customer_id))
            row.level = level
            follow_edit(tx, row)
        return shop.row(customer_id)

    assert edit("A", 1).reclaim_due_at == shop.day(30)
    assert edit("B", 2).reclaim_due_at == shop.day(90)
    edit("A", 3)
    with shop.store.transaction(shop.tenant, now=shop.day(29)) as tx:
        assert sweeps.warn(tx, pool_id, 1) == 1
    row = edit("A", 29.5)
    assert (row.warned_time, row.warn_due_at, row.reclaim_due_at) == (shop.day(29), None, shop.day(30))


def test_a_changed_rule_warns_nobody_twice_of_the_same_day(shop: Shop) -> None:
    """F19, F187: what was said is what happens, also where the new rule would take it before it could be said anew."""
    pool_id = shop.pool(90)
    customer_id = shop.create(pool_id)
    assert shop.sweep(sweeps.warn, pool_id, 89) == 1
    for idle_days, warn_days in ((90, 3), (30, 1)):
        shop.rule(pool_id, ReclaimRule(idle_days, warn_days))
        assert shop.sweep(sweeps.apply_rule, pool_id, 89.5) == 1
        assert shop.sweep(sweeps.warn, pool_id, 89.5) == 0
        row = shop.row(customer_id)
        assert (row.warned_time, row.warn_due_at, row.reclaim_due_at) == (shop.day(89), None, shop.day(90))
    assert shop.sweep(sweeps.reclaim, pool_id, 89.9) == 0
    assert shop.sweep(sweeps.reclaim, pool_id, 90) == 1
    assert shop.events("reclaim_warned") == [customer_id]


@pytest.mark.parametrize(
    ("rule", "warned_day", "day"), [(ReclaimRule(120, 1), 119, 120), (ReclaimRule(61, 1), 65, 66)]
)
def test_a_changed_rule_warns_anew_of_another_day(
    shop: Shop, rule: ReclaimRule, warned_day: float, day: float
) -> None:
    """F19, F187: a day before it, whether it is later than what was said or earlier."""
    pool_id = shop.pool(90, warn_days=30)
    customer_id = shop.create(pool_id)
    assert shop.sweep(sweeps.warn, pool_id, 60) == 1
    shop.rule(pool_id, rule)
    assert shop.sweep(sweeps.apply_rule, pool_id, 65) == 1
    assert shop.sweep(sweeps.warn, pool_id, warned_day) == 1
    row = shop.row(customer_id)
    assert (row.warned_time, row.reclaim_due_at) == (shop.day(warned_day), shop.day(day))
    assert shop.sweep(sweeps.reclaim, pool_id, day - 0.1) == 0
    assert shop.sweep(sweeps.reclaim, pool_id, day) == 1
    assert shop.events("reclaim_warned") == [customer_id] * 2
