"""What operators see of the pools' backlogs, over real tables."""

from datetime import timedelta

from sqlalchemy import update

from services.chassis.clock import utc_now
from services.chassis.db import Store, Transaction
from services.chassis.ids import new_id
from services.chassis.measures import Measurer
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.customers import CustomerDraft
from services.customers.metrics import ALLOCATION_BACKLOG, RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE
from services.customers.store.measures import MEASURES
from services.customers.store.tables import Base, Customer
from services.customers.usecases.create import create_customer
from services.customers.usecases.pool_moves import claim_customers
from services.customers.usecases.settings import PoolDraft, create_pool
from services.kernel.ownership import ReclaimRule
from tests.support.measured import measured


def owned(tx: Transaction, rep: Caller, pool_id: str = "") -> str:
    """Let a rep own a new customer, of a pool or of none."""
    draft = CustomerDraft(id=new_id(), name=f"公司{new_id()[-6:]}", pool_id=pool_id)
    create_customer(tx, rep, draft, new_id())
    if pool_id:
        claim_customers(tx, rep, [draft.id])
    return draft.id


def test_customers_that_should_have_fallen_back_are_counted_and_how_late_they_are(
    store: Store, tenant: Tenant
) -> None:
    """F15, F16: of a pool, of none; not who is locked (F14), not whose time has not come."""
    gauges = (RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE, ALLOCATION_BACKLOG)
    measurer = Measurer(store, MEASURES)
    before = measured(measurer, gauges, tenant.database)
    with store.transaction(tenant) as tx:
        rep = Caller(tenant=tenant, person_id=new_id(), name="王小明", department_path="root/")
        pool_id = create_pool(tx, PoolDraft("测量的公海", ReclaimRule(90, 1), (), 0)).pool_id
        owned(tx, rep, pool_id)
        yesterday = tx.now - timedelta(days=1)
        for customer_id, values in (
            (owned(tx, rep), {"reclaim_due_at": tx.now - timedelta(days=4000)}),
            (owned(tx, rep, pool_id), {"reclaim_due_at": yesterday, "allocate_due": True}),
            (owned(tx, rep), {"reclaim_due_at": yesterday, "lock_expire_time": tx.now + timedelta(days=1)}),
        ):
            tx.session.execute(update(Customer).where(Customer.customer_id == customer_id).values(**values))
    after = measured(measurer, gauges, tenant.database)
    assert after[0] - before[0] == 2
    assert after[1] >= timedelta(days=4000).total_seconds()
    assert after[2] - before[2] == 1


def test_what_cannot_be_measured_shows_no_figure(store: Store) -> None:
    """A database that is away: an old figure would say that all is well."""
    gone = Store({"gone": "postgresql://nobody@127.0.0.1:1/gone"}, Base.metadata, utc_now)
    RECLAIM_BACKLOG.labels("gone").set(1)
    Measurer(gone, MEASURES).look()
    gone.close()
    shown = {sample.labels["database"] for metric in RECLAIM_BACKLOG.collect() for sample in metric.samples}
    assert "gone" not in shown
