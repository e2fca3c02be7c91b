"""Settings, pools, and the reclaim rule that holds for a customer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import not_found
from services.chassis.ids import derive_id
from services.customers.store.tables import Customer, Pool, Settings
from services.customers.workflows.contracts import QUEUE, SWEEP_NOW, SWEEP_POOL, Sweep, sweep_workflow_id
from services.kernel.ownership import DEFAULT_RULE, ReclaimRule, due

DEFAULT_POOL_NAME = "公海"


def tenant_settings(tx: Transaction) -> Settings:
    """Return the tenant's settings; the first look lays down the defaults, a pool, and the sweeping of both."""
    found = tx.session.get(Settings, tx.tenant.id)
    if found:
        return found
    pool_id = derive_id(tx.tenant.id, "default_pool")
    rule = {"idle_days": DEFAULT_RULE.idle_days, "warn_days": DEFAULT_RULE.warn_days, "rule_version": 1}
    tx.session.execute(
        insert(Pool)
        .values(
            tenant_id=tx.tenant.id,
            pool_id=pool_id,
            name=DEFAULT_POOL_NAME,
            department_ids=[],
            daily_claims=0,
            version=1,
            **rule,
        )
        .on_conflict_do_nothing()
    )
    added = tx.session.scalar(
        insert(Settings)
        .values(
            tenant_id=tx.tenant.id,
            registration_required=False,
            owner_cap=0,
            default_pool_id=pool_id,
            **rule,
        )
        .on_conflict_do_nothing()
        .returning(Settings.tenant_id)
    )
    if added:
        for swept in (pool_id, ""):
            tx.start_workflow(sweep_start(Sweep(tx.tenant, swept)))
    return tx.session.get_one(Settings, tx.tenant.id)


def sweep_start(sweep: Sweep) -> WorkflowStart:
    """Return what starts a pool's workflow, or lets the running one sweep at once."""
    return WorkflowStart(SWEEP_POOL, sweep_workflow_id(sweep), QUEUE, sweep, SWEEP_NOW)


def pools(tx: Transaction) -> Sequence[Pool]:
    """Return the tenant's pools by name."""
    tenant_settings(tx)
    return tx.session.scalars(select(Pool).where(Pool.tenant_id == tx.tenant.id).order_by(Pool.name)).all()


def get_pool(tx: Transaction, pool_id: str) -> Pool:
    """Return a pool; raises NotFound POOL_NOT_FOUND."""
    tenant_settings(tx)
    pool = tx.session.get(Pool, (tx.tenant.id, pool_id))
    if pool is None:
        raise not_found("pool", "公海", pool_id)
    return pool


@dataclass(frozen=True)
class AppliedRule:
    """A rule as it stands now. pool_id: where customers fall to."""

    rule: ReclaimRule
    version: int
    pool_id: str


class Rules:
    """The rule of each customer: that of its pool, or the tenant's own for those that belong to none."""

    def __init__(self, tx: Transaction) -> None:
        settings = tenant_settings(tx)
        self._own = AppliedRule(
            ReclaimRule(settings.idle_days, settings.warn_days),
            settings.rule_version,
            settings.default_pool_id,
        )
        self._pools: Mapping[str, AppliedRule] = {
            pool.pool_id: AppliedRule(
                ReclaimRule(pool.idle_days, pool.warn_days), pool.rule_version, pool.pool_id
            )
            for pool in pools(tx)
        }

    def of(self, pool_id: str | None) -> AppliedRule:
        """Return the rule for customers of a pool, None for those that belong to none."""
        return self._pools[pool_id] if pool_id else self._own

    def set_due(self, customer: Customer) -> None:
        """Set anew when the owner is warned and when the customer falls back; an old warning counts no more."""
        applied = self.of(customer.pool_id)
        times = (
            due(applied.rule, customer.own_time, customer.last_evidence_time) if customer.own_time else None
        )
        customer.warn_due_at = times.warn if times else None
        customer.reclaim_due_at = times.reclaim if times else None
        customer.warned_time = None
        customer.rule_version = applied.version
