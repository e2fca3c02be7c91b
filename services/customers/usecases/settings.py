"""A tenant's settings and its pools."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, InvalidInput
from services.chassis.ids import new_id
from services.customers.store.rules import (
    forget_pools,
    get_pool,
    store_rule,
    stored_rule,
    sweep_start,
    tenant_settings,
)
from services.customers.store.tables import Pool, Settings
from services.customers.workflows.contracts import Sweep
from services.kernel.ownership import ReclaimRule


@dataclass(frozen=True)
class PoolDraft:
    """A pool as somebody wants it. daily_claims: of a person, 0 for no limit. See the table for the rest."""

    name: str
    rule: ReclaimRule
    department_ids: tuple[str, ...]
    daily_claims: int
    kind: str = ""
    person_ids: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    region_ids: tuple[str, ...] = ()
    admin_ids: tuple[str, ...] = ()
    claim_requests: int = 0
    claim_period_days: int = 1
    cool_down_days: int = 0
    new_data_days: int = 0
    hidden_fields: tuple[str, ...] = ()

    def terms(self) -> dict[str, Any]:
        """Return the columns that a pool has beside its name, rule and versions."""
        return {
            "department_ids": list(self.department_ids),
            "daily_claims": self.daily_claims,
            "kind": self.kind,
            "person_ids": list(self.person_ids),
            "roles": list(self.roles),
            "region_ids": list(self.region_ids),
            "admin_ids": list(self.admin_ids),
            "claim_requests": self.claim_requests,
            "claim_period_days": self.claim_period_days,
            "cool_down_days": self.cool_down_days,
            "new_data_days": self.new_data_days,
            "hidden_fields": list(self.hidden_fields),
        }


@dataclass(frozen=True)
class SettingsDraft:
    """Settings as somebody wants them. rule: None leaves it. default_pool_id: "" leaves it."""

    registration_required: bool
    owner_cap: int
    rule: ReclaimRule | None
    default_pool_id: str
    lock_cap: int = 0


def update_settings(tx: Transaction, draft: SettingsDraft) -> Settings:
    """Change the settings; raises NotFound POOL_NOT_FOUND, InvalidInput OWNER_CAP_OUT_OF_RANGE."""
    if draft.lock_cap < 0:
        raise InvalidInput(
            "settings.lock_cap", "LOCK_CAP_OUT_OF_RANGE", "锁定上限不能小于 0", "lock_cap is 0 or more"
        )
    if draft.owner_cap < 0:
        raise InvalidInput(
            "settings.owner_cap", "OWNER_CAP_OUT_OF_RANGE", "保有量上限不能小于 0", "owner_cap is 0 or more"
        )
    tenant_settings(tx)
    settings = tx.session.scalars(
        select(Settings)
        .where(Settings.tenant_id == tx.tenant.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    pool_before = settings.default_pool_id
    settings.registration_required = draft.registration_required
    settings.owner_cap = draft.owner_cap
    settings.lock_cap = draft.lock_cap
    ruled = store_rule(settings, draft.rule) if draft.rule else False
    if draft.default_pool_id:
        settings.default_pool_id = get_pool(tx, draft.default_pool_id).pool_id
    if ruled or pool_before != settings.default_pool_id:
        settings.rule_version += 1
        tx.start_workflow(sweep_start(Sweep(tx.tenant, "")))
    return settings


def create_pool(tx: Transaction, draft: PoolDraft) -> Pool:
    """Make a pool and start its sweeping (F26); raises AlreadyExists POOL_NAME_TAKEN."""
    tenant_settings(tx)
    pool_id = tx.session.scalar(
        insert(Pool)
        .values(
            tenant_id=tx.tenant.id,
            pool_id=new_id(),
            name=draft.name,
            idle_days=draft.rule.idle_days,
            warn_days=draft.rule.warn_days,
            reclaim=stored_rule(draft.rule),
            rule_version=1,
            version=1,
            **draft.terms(),
        )
        .on_conflict_do_nothing()
        .returning(Pool.pool_id)
    )
    if pool_id is None:
        raise _name_taken(draft.name)
    tx.start_workflow(sweep_start(Sweep(tx.tenant, pool_id)))
    forget_pools(tx)
    return get_pool(tx, pool_id)


def update_pool(tx: Transaction, pool_id: str, version: int, draft: PoolDraft) -> Pool:
    """Change a pool that was read at `version`; its rule holds from the next sweep, which is now (F19).

    Raises NotFound POOL_NOT_FOUND, Conflict POOL_CHANGED, AlreadyExists POOL_NAME_TAKEN.
    """
    get_pool(tx, pool_id)
    # Who edits pools waits for another; who puts customers into them refers to their keys, and waits for nobody.
    own = tx.session.scalars(
        select(Pool)
        .where(Pool.tenant_id == tx.tenant.id)
        .order_by(Pool.pool_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    pool = next(item for item in own if item.pool_id == pool_id)
    if pool.version != version:
        raise Conflict(
            "POOL_CHANGED", "公海已被他人修改，请刷新后重试", "The pool was changed meanwhile; read it anew"
        )
    if any(item.name == draft.name for item in own if item is not pool):
        raise _name_taken(draft.name)
    if store_rule(pool, draft.rule):
        pool.rule_version += 1
        tx.start_workflow(sweep_start(Sweep(tx.tenant, pool_id)))
    pool.name = draft.name
    for column, value in draft.terms().items():
        setattr(pool, column, value)
    pool.version += 1
    return pool


def _name_taken(name: str) -> AlreadyExists:
    return AlreadyExists(
        "POOL_NAME_TAKEN", "已有名为“{name}”的公海", "There is a pool named {name} already", name=name
    )
