"""The ledger of owners: the one function through which a lead's owner comes or goes, whatever the cause.

As with customers: the row of who gains is locked first, then the lead; caps and quotas are counted under that lock; the
owner is set with a row of the append-only ledger, and the database refuses any other way.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction, WorkflowStart
from services.kernel.china_time import day_start
from services.kernel.ownership import ReclaimRule, check_cap, check_daily_claims
from services.leads.domain.pool import Cause, PoolRules
from services.leads.domain.states import OWNED_STATES
from services.leads.store.pools import find_pool
from services.leads.store.tables import Lead, OwnerCounter, OwnershipChange, Settings
from services.leads.workflows.contracts import POOL_WORKFLOW, QUEUE, PoolSweep, pool_workflow_id


@dataclass(frozen=True)
class Owner:
    """Who gains a lead."""

    person_id: str
    department_path: str


def pool_rules(tx: Transaction) -> PoolRules:
    """Return the tenant's rules; the first use lays them down and starts the pool's sweep."""
    default = PoolRules()
    laid = tx.session.execute(
        insert(Settings)
        .values(
            tenant_id=tx.tenant.id,
            owner_cap=default.owner_cap,
            daily_claims=default.daily_claims,
            idle_days=default.reclaim.idle_days,
            warn_days=default.reclaim.warn_days,
            captures_per_minute=default.captures_per_minute,
        )
        .on_conflict_do_nothing()
        .returning(Settings.tenant_id)
    )
    if laid.first():
        tx.start_workflow(
            WorkflowStart(POOL_WORKFLOW, pool_workflow_id(tx.tenant.id), QUEUE, PoolSweep(tx.tenant))
        )
    row = tx.session.get_one(Settings, tx.tenant.id)
    return PoolRules(
        row.owner_cap,
        row.daily_claims,
        ReclaimRule(row.idle_days, row.warn_days),
        row.captures_per_minute,
    )


def lock_owner(tx: Transaction, person_id: str) -> None:
    """Lock the row under which somebody's leads are counted; before any lead is locked."""
    tx.session.execute(
        insert(OwnerCounter).values(tenant_id=tx.tenant.id, owner_id=person_id).on_conflict_do_nothing()
    )
    tx.session.execute(
        select(OwnerCounter.owner_id)
        .where(OwnerCounter.tenant_id == tx.tenant.id, OwnerCounter.owner_id == person_id)
        .with_for_update()
    )


def gain(tx: Transaction, lead: Lead, owner: Owner, cause: Cause) -> None:
    """Give a locked lead to somebody whose row is locked (`lock_owner`).

    Raises RuleViolation OWNER_CAP_REACHED, Quota DAILY_CLAIMS_USED_UP.
    """
    rules = pool_rules(tx)
    check_cap(_owned(tx, owner.person_id), rules.owner_cap)
    if cause is Cause.CLAIM:
        limit = find_pool(tx, lead.pool_id).daily_claims if lead.pool_id else rules.daily_claims
        check_daily_claims(_claimed_today(tx, owner.person_id, lead.pool_id), limit, tx.now)
    _set(tx, lead, owner, cause, "")


def lose(tx: Transaction, lead: Lead, cause: Cause, reason: str) -> None:
    """Take a locked lead from its owner into the pool."""
    _set(tx, lead, None, cause, reason)


def _set(tx: Transaction, lead: Lead, owner: Owner | None, cause: Cause, reason: str) -> None:
    # Before the lead: the database lets an owner pass whom the ledger's last row names.
    tx.session.add(
        OwnershipChange(
            tenant_id=tx.tenant.id,
            lead_id=lead.id,
            from_owner_id=lead.owner_id,
            to_owner_id=owner.person_id if owner else None,
            cause=cause,
            actor_id=tx.actor_id or None,
            reason=reason,
            pool_id=lead.pool_id,
            create_time=tx.now,
        )
    )
    tx.session.flush()
    lead.owner_id = owner.person_id if owner else None
    lead.owner_department_path = owner.department_path if owner else ""
    lead.evidence_time = tx.now if owner else None
    lead.warned_time = lead.lock_expire_time = None


def _owned(tx: Transaction, person_id: str) -> int:
    query = select(func.count()).where(
        Lead.tenant_id == tx.tenant.id, Lead.owner_id == person_id, Lead.state.in_(OWNED_STATES)
    )
    return tx.session.scalar(query) or 0


def _claimed_today(tx: Transaction, person_id: str, pool_id: str | None) -> int:
    query = select(func.count()).where(
        OwnershipChange.tenant_id == tx.tenant.id,
        OwnershipChange.to_owner_id == person_id,
        OwnershipChange.cause == Cause.CLAIM,
        OwnershipChange.pool_id.is_not_distinct_from(pool_id),
        OwnershipChange.create_time >= day_start(tx.now),
    )
    return tx.session.scalar(query) or 0
