"""Settings, pools, and the reclaim rule that holds for a customer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sqlalchemy import bindparam, exists, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import not_found
from services.chassis.ids import derive_id
from services.chassis.tokens import Caller
from services.customers.store.tables import Customer, OwnerCap, Pool, Settings, Staff
from services.customers.workflows.contracts import QUEUE, SWEEP_NOW, SWEEP_POOL, Sweep, sweep_workflow_id
from services.kernel.ownership import (
    DEFAULT_RULE,
    Clause,
    Evidence,
    PoolScope,
    ReclaimRule,
    Standing,
    fate,
    reclaim_after_warning,
)

DEFAULT_POOL_NAME = "公海"

Row = TypeVar("Row", Settings, Pool)


def tenant_settings(tx: Transaction) -> Settings:
    """Return the tenant's settings; the first look lays down the defaults, a pool, and the sweeping of both."""
    found = tx.session.get(Settings, tx.tenant.id)
    if found:
        return _keep(tx, found)
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
    return _keep(tx, tx.session.get_one(Settings, tx.tenant.id))


def _keep(tx: Transaction, row: Row) -> Row:
    """Hold on to a row for the transaction: a session forgets what nobody holds, and would read it again each time."""
    tx.session.info.setdefault("kept", {})[id(row)] = row
    return row


def sweep_start(sweep: Sweep) -> WorkflowStart:
    """Return what starts a pool's workflow, or lets the running one sweep at once."""
    return WorkflowStart(SWEEP_POOL, sweep_workflow_id(sweep), QUEUE, sweep, SWEEP_NOW)


_POOLS = (
    select(Pool, Settings, exists().where(OwnerCap.tenant_id == Settings.tenant_id).label("capped"))
    .join(Settings, Settings.tenant_id == Pool.tenant_id)
    .where(Pool.tenant_id == bindparam("tenant_id"))
    .order_by(Pool.name)
)


def pools(tx: Transaction) -> Sequence[Pool]:
    """Return the tenant's pools by name, looked up once for a transaction."""
    known: Sequence[Pool] | None = tx.session.info.get("pools")
    if known is None:
        known = tx.session.info["pools"] = _read_pools(tx)
    return known


def forget_pools(tx: Transaction) -> None:
    """Have them looked up again, and whether there are caps: there is another one."""
    for known in ("pools", "capped"):
        tx.session.info.pop(known, None)


def may_have_caps(tx: Transaction) -> bool:
    """Tell whether the tenant may have caps beside its own; who looked its pools up knows that with them."""
    return bool(tx.session.info.get("capped", True))


def _read_pools(tx: Transaction) -> Sequence[Pool]:
    rows = tx.session.execute(_POOLS, {"tenant_id": tx.tenant.id}).all()
    if not rows:
        tenant_settings(tx)
        rows = tx.session.execute(_POOLS, {"tenant_id": tx.tenant.id}).all()
    tx.session.info["capped"] = any(row.capped for row in rows)
    # With the settings: whoever asks for the pools mostly wants those next.
    return [_keep(tx, row.Pool) for row in rows if _keep(tx, row.Settings)]


def get_pool(tx: Transaction, pool_id: str) -> Pool:
    """Return a pool; raises NotFound POOL_NOT_FOUND."""
    tenant_settings(tx)
    pool = tx.session.get(Pool, (tx.tenant.id, pool_id))
    if pool is None:
        raise not_found("pool", "公海", pool_id)
    return _keep(tx, pool)


@dataclass(frozen=True)
class AppliedRule:
    """A rule as it stands now. pool_id: where customers fall to."""

    rule: ReclaimRule
    version: int
    pool_id: str


def rule_of(row: Pool | Settings) -> ReclaimRule:
    """Return the rule of a pool, or the tenant's own."""
    stored = row.reclaim
    return ReclaimRule(
        row.idle_days,
        row.warn_days,
        clauses=tuple(
            Clause(
                idle_days=clause["idle_days"],
                contract_days=clause["contract_days"],
                levels=tuple(clause["levels"]),
                categories=tuple(clause["categories"]),
            )
            for clause in stored.get("clauses", ())
        ),
        evidence=frozenset(map(Evidence, stored.get("evidence", Evidence))),
        exempt_levels=tuple(stored.get("exempt_levels", ())),
        exempt_categories=tuple(stored.get("exempt_categories", ())),
        exempt_contracted=stored.get("exempt_contracted", False),
    )


def store_rule(row: Pool | Settings, rule: ReclaimRule) -> bool:
    """Write a rule and tell whether it is another one now."""
    before = rule_of(row)
    row.idle_days, row.warn_days, row.reclaim = rule.idle_days, rule.warn_days, stored_rule(rule)
    return before != rule


def stored_rule(rule: ReclaimRule) -> dict[str, Any]:
    """Return what a rule holds beside its days, as it is stored."""
    return {
        "clauses": [asdict(clause) for clause in rule.clauses],
        "evidence": sorted(rule.evidence),
        "exempt_levels": list(rule.exempt_levels),
        "exempt_categories": list(rule.exempt_categories),
        "exempt_contracted": rule.exempt_contracted,
    }


def standing(customer: Customer) -> Standing:
    """Return what a rule looks at; the customer is owned."""
    times = {
        Evidence.FOLLOW_UP: customer.last_follow_up_time,
        Evidence.CALL: customer.last_call_time,
        Evidence.ORDER: customer.last_order_time,
        Evidence.CONTRACT: customer.last_contract_time,
    }
    return Standing(
        own_time=customer.own_time or customer.create_time,
        last={kind: time for kind, time in times.items() if time},
        level=customer.level,
        category=customer.business_type,
    )


class Rules:
    """The rule of each customer: that of its pool, or the tenant's own for those that belong to none."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._applied: dict[str, AppliedRule] = {}

    def of(self, pool_id: str | None) -> AppliedRule:
        """Return the rule for customers of a pool, None for those that belong to none."""
        if (pool_id or "") not in self._applied:
            self._applied[pool_id or ""] = self._read(pool_id)
        return self._applied[pool_id or ""]

    def _read(self, pool_id: str | None) -> AppliedRule:
        if pool_id:
            pool = get_pool(self._tx, pool_id)
            return AppliedRule(rule_of(pool), pool.rule_version, pool_id)
        settings = tenant_settings(self._tx)
        return AppliedRule(rule_of(settings), settings.rule_version, settings.default_pool_id)

    def due(self, customer: Customer) -> dict[str, Any]:
        """Return what a customer's row says of when its owner is warned and when it falls back, as of now.

        An old warning counts no more.
        """
        applied = self.of(customer.pool_id)
        falls = fate(applied.rule, standing(customer)) if customer.own_time else None
        return {
            "warn_due_at": falls.due.warn if falls else None,
            "reclaim_due_at": falls.due.reclaim if falls else None,
            "warned_time": None,
            "rule_version": applied.version,
        }

    def set_due(self, customer: Customer) -> None:
        """Set anew when the owner is warned and when the customer falls back.

        To be called with every change of evidence or rule; see `follow_edit` for the rest that a rule looks at, and the
        ledger for changes of the owner.
        """
        for name, value in self.due(customer).items():
            setattr(customer, name, value)


def follow_edit(tx: Transaction, customer: Customer) -> None:
    """Set due times anew after an edit of an owned customer's level or business type; no work, so a warning stands."""
    if customer.owner_id is None:
        return
    warned = customer.warned_time
    Rules(tx).set_due(customer)
    if warned and customer.reclaim_due_at and customer.warn_due_at and customer.warn_due_at <= tx.now:
        customer.warned_time, customer.warn_due_at = warned, None
        customer.reclaim_due_at = reclaim_after_warning(customer.reclaim_due_at, warned)


def pool_scope(pool: Pool) -> PoolScope:
    """Return who is a member of a pool."""
    return PoolScope(
        department_ids=frozenset(pool.department_ids),
        person_ids=frozenset(pool.person_ids),
        roles=frozenset(pool.roles),
        region_ids=frozenset(pool.region_ids),
    )


def own_pools(tx: Transaction, caller: Caller) -> list[Pool]:
    """Return the pools that somebody is a member or an administrator of, by name."""
    # Who is a member sees a pool's customers, whatever the scope.
    note_scope_asked()
    every = pools(tx)
    staff = None
    if any(pool.roles or pool.region_ids for pool in every):
        staff = tx.session.get(Staff, (tx.tenant.id, caller.person_id))
    roles, regions = (staff.roles, staff.region_ids) if staff else ([], [])
    return [
        pool
        for pool in every
        if caller.person_id in pool.admin_ids
        or pool_scope(pool).admits(caller.person_id, caller.department_path, roles, regions)
    ]


def manages(caller: Caller, pool: Pool) -> bool:
    """Tell whether somebody may assign and throw out a pool's customers."""
    return "pools.manage" in caller.rights or caller.person_id in pool.admin_ids
