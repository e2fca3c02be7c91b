"""The lead pool at work: its rules, what falls back into it, and the outside sources that fill it."""

import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import case, select, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, Forbidden, Unauthenticated, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.kernel.ownership import ReclaimRule, reclaim_after_warning
from services.kernel.texts import parse_text
from services.leads.domain.pool import (
    Cause,
    PoolRules,
    PoolTerms,
    check_captures,
    check_pool_rules,
    check_pool_terms,
    check_signature,
)
from services.leads.domain.states import (
    POOLED_STATES,
    LeadAction,
    LeadState,
    lead_state_refused,
    next_lead_state,
)
from services.leads.store.ledger import lose, pool_rules
from services.leads.store.pools import all_pools, find_pool, rule, stored_pool_id
from services.leads.store.queries import find_lead, neglected
from services.leads.store.tables import CaptureCounter, CaptureSource, Lead, Pool, Settings
from services.leads.usecases.leads import move_lead, refuse_converting

# Bytes of a source's secret.
SECRET_BYTES = 32


def update_pool_rules(tx: Transaction, rules: PoolRules) -> PoolRules:
    """Set the pool's rules; they hold at once, for leads owned already too (F19)."""
    rules = check_pool_rules(rules)
    pool_rules(tx)
    tx.session.execute(
        update(Settings)
        .where(Settings.tenant_id == tx.tenant.id)
        .values(
            owner_cap=rules.owner_cap,
            daily_claims=rules.daily_claims,
            idle_days=rules.reclaim.idle_days,
            warn_days=rules.reclaim.warn_days,
            captures_per_minute=rules.captures_per_minute,
        )
    )
    return rules


def sweep(tx: Transaction, limit: int) -> bool:
    """Warn the owners of neglected leads, and take back those whose owner was warned a day ago at least.

    Each pool by its own rule. limit: leads of each kind and pool in this transaction. Returns whether there may be
    more.
    """
    rules: dict[str | None, ReclaimRule] = {None: pool_rules(tx).reclaim}
    rules |= {pool.id: rule(pool) for pool in all_pools(tx)}
    more = False
    for pool_id, held in rules.items():
        if held.idle_days:
            more = _sweep_pool(tx, pool_id, held, limit) or more
    return more


def _sweep_pool(tx: Transaction, pool_id: str | None, rule: ReclaimRule, limit: int) -> bool:
    idle, warn = timedelta(days=rule.idle_days), timedelta(days=rule.warn_days)
    reclaimed = neglected(tx, pool_id, tx.now - idle, limit, warned=True)
    for lead in reclaimed:
        owner_id = lead.owner_id
        reason = f"超过{rule.idle_days}天未跟进"
        lose(tx, lead, Cause.RECLAIM, reason)
        move_lead(tx, lead, next_lead_state(LeadState(lead.state), LeadAction.RETURN), reason)
        tx.emit(
            "lead_reclaimed",
            lead.id,
            lead.version,
            {"leadId": lead.id, "name": lead.name, "fromOwnerId": owner_id},
        )
    warned = neglected(tx, pool_id, tx.now - idle + warn, limit, warned=False)
    for lead in warned:
        due = reclaim_after_warning((lead.evidence_time or tx.now) + idle, tx.now)
        lead.warned_time = tx.now
        lead.version += 1
        tx.emit(
            "lead_reclaim_warned",
            lead.id,
            lead.version,
            {
                "leadId": lead.id,
                "name": lead.name,
                "ownerId": lead.owner_id,
                "reclaimDueTime": due.isoformat(),
            },
        )
    return len(reclaimed) == limit or len(warned) == limit


def create_pool(tx: Transaction, terms: PoolTerms) -> Pool:
    """Make a pool beside the tenant's own; raises InvalidInput naming the field, AlreadyExists POOL_NAME_TAKEN."""
    terms = check_pool_terms(terms)
    # Its leads are swept too.
    pool_rules(tx)
    added = tx.session.scalars(
        insert(Pool)
        .values(id=new_id(), tenant_id=tx.tenant.id, version=1, **_columns(terms))
        .on_conflict_do_nothing()
        .returning(Pool)
    ).one_or_none()
    if added is None:
        raise _name_taken(terms.name)
    return added


def update_pool(tx: Transaction, pool_id: str, version: int, terms: PoolTerms) -> Pool:
    """Change a pool that was read at `version`; its rules hold at once, for leads owned already too (F19).

    Raises InvalidInput naming the field, NotFound POOL_NOT_FOUND, Conflict POOL_CHANGED, AlreadyExists POOL_NAME_TAKEN.
    """
    terms = check_pool_terms(terms)
    pool = find_pool(tx, pool_id, lock=True)
    if pool.version != version:
        raise Conflict(
            "POOL_CHANGED", "线索池已被他人修改，请刷新后重试", "The pool was changed meanwhile; read it anew"
        )
    namesake = select(Pool.id).where(
        Pool.tenant_id == tx.tenant.id, Pool.name == terms.name, Pool.id != pool.id
    )
    if tx.session.scalar(namesake):
        raise _name_taken(terms.name)
    for column, value in _columns(terms).items():
        setattr(pool, column, value)
    pool.version += 1
    return pool


def move_to_pool(tx: Transaction, caller: Caller, lead_id: str, pool_id: str) -> Lead:
    """Put a lead into another pool; an owned one keeps its owner and falls back into that one.

    Raises NotFound LEAD_NOT_FOUND or POOL_NOT_FOUND, RuleViolation LEAD_STATE or LEAD_CONVERTING.
    """
    lead = find_lead(tx, caller, lead_id, lock=True)
    refuse_converting(lead)
    state = LeadState(lead.state)
    if state not in POOLED_STATES:
        raise lead_state_refused(state, "move")
    target = stored_pool_id(tx, pool_id)
    if target != lead.pool_id:
        lead.pool_id = target
        move_lead(
            tx, lead, state, f"移入线索池“{find_pool(tx, target).name}”" if target else "移入公共线索池"
        )
    return lead


def _columns(terms: PoolTerms) -> dict[str, object]:
    return {
        "name": terms.name,
        "department_ids": sorted(terms.members.department_ids),
        "person_ids": sorted(terms.members.person_ids),
        "roles": sorted(terms.members.roles),
        "region_ids": sorted(terms.members.region_ids),
        "daily_claims": terms.daily_claims,
        "idle_days": terms.reclaim.idle_days,
        "warn_days": terms.reclaim.warn_days,
    }


def _name_taken(name: str) -> AlreadyExists:
    return AlreadyExists(
        "POOL_NAME_TAKEN", "已有名为“{name}”的线索池", "There is a pool named {name} already", name=name
    )


def create_source(tx: Transaction, name: str, pool_id: str = "") -> tuple[CaptureSource, bytes]:
    """Register a source, or one that has ended again, and return it with its new secret.

    pool_id: where its leads come in, "" for the tenant's own. Raises AlreadyExists SOURCE_EXISTS, NotFound
    POOL_NOT_FOUND.
    """
    name = parse_text(name, "name", 50)
    secret = secrets.token_bytes(SECRET_BYTES)
    values = {
        "secret": secret,
        "pool_id": stored_pool_id(tx, pool_id) if pool_id else None,
        "create_time": tx.now,
        "end_time": None,
    }
    added = tx.session.scalars(
        insert(CaptureSource)
        .values(tenant_id=tx.tenant.id, name=name, **values)
        .on_conflict_do_update(
            index_elements=[CaptureSource.tenant_id, CaptureSource.name],
            set_=values,
            where=CaptureSource.end_time.is_not(None),
        )
        .returning(CaptureSource)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if added is None:
        raise AlreadyExists(
            "SOURCE_EXISTS", "来源“{name}”已登记", "The source “{name}” is registered already", name=name
        )
    tx.audit("capture_source_registered", "", {"name": name})
    return added, secret


def update_source(tx: Transaction, name: str, pool_id: str) -> CaptureSource:
    """Let a source's leads come into another pool from now on; raises NotFound SOURCE_NOT_FOUND or POOL_NOT_FOUND."""
    source = _lock_source(tx, name)
    source.pool_id = stored_pool_id(tx, pool_id)
    return source


def end_source(tx: Transaction, name: str) -> CaptureSource:
    """Let no lead of a source in any more; raises NotFound SOURCE_NOT_FOUND."""
    source = _lock_source(tx, name)
    if source.end_time is None:
        source.end_time = tx.now
        tx.audit("capture_source_ended", "", {"name": source.name})
    return source


def _lock_source(tx: Transaction, name: str) -> CaptureSource:
    source = tx.session.get(CaptureSource, (tx.tenant.id, name.strip()), with_for_update=True)
    if source is None:
        raise not_found("source", "来源", name)
    return source


def sources(tx: Transaction) -> Sequence[CaptureSource]:
    """Return the registered sources by name."""
    return tx.session.scalars(
        select(CaptureSource).where(CaptureSource.tenant_id == tx.tenant.id).order_by(CaptureSource.name)
    ).all()


def admit_capture(
    tx: Transaction, caller: Caller, source: str, fields: Sequence[str], sign_time: int, signature: str
) -> str | None:
    """Let a lead from outside in: signed by its source, if that is registered, and within the caller's rate (F136).

    fields: as `capture_signature` takes them. Returns the pool that it comes into, as leads keep it. Raises
    Forbidden SOURCE_ENDED, Unauthenticated SIGNATURE_MISSING, SIGNATURE_INVALID or SIGNATURE_EXPIRED, Quota
    CAPTURES_USED_UP.
    """
    known = tx.session.get(CaptureSource, (tx.tenant.id, source.strip()))
    if known and known.end_time:
        raise Forbidden("SOURCE_ENDED", "该来源已停用", "This source has ended")
    if known and not signature:
        raise Unauthenticated(
            "SIGNATURE_MISSING", "该来源的线索须签名", "Leads of this source must be signed"
        )
    if known:
        check_signature(known.secret, sign_time, fields, signature, tx.now)
    minute = tx.now.replace(second=0, microsecond=0)
    fresh = insert(CaptureCounter).values(
        tenant_id=tx.tenant.id, caller_id=caller.actor_id or caller.service, minute=minute, count=1
    )
    count = tx.session.execute(
        fresh.on_conflict_do_update(
            index_elements=[CaptureCounter.tenant_id, CaptureCounter.caller_id],
            set_={
                "minute": minute,
                "count": case((CaptureCounter.minute == minute, CaptureCounter.count + 1), else_=1),
            },
        ).returning(CaptureCounter.count)
    ).scalar_one()
    check_captures(count, pool_rules(tx).captures_per_minute, tx.now)
    return known.pool_id if known else None
