"""Lead pools: the tenant's own, and those beside it with members of their own.

A lead without a pool's id is in the tenant's own, whose rules are the settings and whose members are everybody; towards
callers it has an id like the others.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, or_, select, true

from services.chassis.db import Transaction
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import not_found
from services.chassis.ids import derive_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.ownership import PoolScope, ReclaimRule
from services.leads.domain.states import LeadState
from services.leads.store.tables import Lead, Pool, Staff

# Whoever has it sees every pool.
MANAGE = "pools.manage"


def own_pool_id(tenant_id: str) -> str:
    """Return what callers know the tenant's own pool by."""
    return derive_id(tenant_id, "lead_pool")


def shown_pool_id(tenant_id: str, pool_id: str | None) -> str:
    """Return the id of a lead's pool towards callers."""
    return pool_id or own_pool_id(tenant_id)


def stored_pool_id(tx: Transaction, pool_id: str) -> str | None:
    """Return a pool's id as leads keep it; raises InvalidInput NOT_A_UUID, NotFound POOL_NOT_FOUND."""
    pool_id = parse_id(pool_id, "pool_id")
    return None if pool_id == own_pool_id(tx.tenant.id) else find_pool(tx, pool_id).id


def find_pool(tx: Transaction, pool_id: str, *, lock: bool = False) -> Pool:
    """Return a pool beside the tenant's own, locked if asked; raises NotFound POOL_NOT_FOUND."""
    query = select(Pool).where(Pool.tenant_id == tx.tenant.id, Pool.id == parse_id(pool_id, "pool_id"))
    pool = tx.session.scalar(query.with_for_update() if lock else query)
    if pool is None:
        raise not_found("pool", "线索池", pool_id)
    return pool


def all_pools(tx: Transaction) -> Sequence[Pool]:
    """Return the pools beside the tenant's own, by name."""
    return tx.session.scalars(select(Pool).where(Pool.tenant_id == tx.tenant.id).order_by(Pool.name)).all()


def own_pools(tx: Transaction, caller: Caller) -> list[Pool]:
    """Return the pools beside the tenant's own that somebody may take leads of, by name."""
    note_scope_asked()
    pools = all_pools(tx)
    if MANAGE in caller.rights:
        return list(pools)
    staff = None
    if any(pool.roles or pool.region_ids for pool in pools):
        staff = tx.session.get(Staff, (tx.tenant.id, caller.person_id))
    roles, regions = (staff.roles, staff.region_ids) if staff else ([], [])
    return [
        pool
        for pool in pools
        if members(pool).admits(caller.person_id, caller.department_path, roles, regions)
    ]


def members(pool: Pool) -> PoolScope:
    """Return whose pool it is."""
    return PoolScope(
        department_ids=frozenset(pool.department_ids),
        person_ids=frozenset(pool.person_ids),
        roles=frozenset(pool.roles),
        region_ids=frozenset(pool.region_ids),
    )


def rule(pool: Pool) -> ReclaimRule:
    """Return when neglect loses a lead to this pool."""
    return ReclaimRule(pool.idle_days, pool.warn_days)


def in_own_pool(tx: Transaction, caller: Caller) -> ColumnElement[bool]:
    """Return the condition under which a lead is in a pool of somebody's."""
    if MANAGE in caller.rights:
        return true()
    return or_(Lead.pool_id.is_(None), Lead.pool_id.in_([pool.id for pool in own_pools(tx, caller)]))


def waiting(tx: Transaction) -> dict[str | None, int]:
    """Return how many leads nobody owns, by pool as leads keep it."""
    rows = tx.session.execute(
        select(Lead.pool_id, func.count())
        .where(Lead.tenant_id == tx.tenant.id, Lead.state == LeadState.UNASSIGNED)
        .group_by(Lead.pool_id)
    )
    return {row[0]: row[1] for row in rows}
