"""The lead pool at work: its rules, what falls back into it, and the outside sources that fill it."""

import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import case, select, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Unauthenticated
from services.chassis.tokens import Caller
from services.kernel.ownership import reclaim_after_warning
from services.kernel.texts import parse_text
from services.leads.domain.pool import (
    Cause,
    PoolRules,
    check_captures,
    check_pool_rules,
    check_signature,
)
from services.leads.domain.states import LeadAction, LeadState, next_lead_state
from services.leads.store.ledger import lose, pool_rules
from services.leads.store.queries import neglected
from services.leads.store.tables import CaptureCounter, CaptureSource, Settings
from services.leads.usecases.leads import move_lead

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

    limit: leads of each kind in this transaction. Returns whether there may be more.
    """
    rule = pool_rules(tx).reclaim
    if not rule.idle_days:
        return False
    idle, warn = timedelta(days=rule.idle_days), timedelta(days=rule.warn_days)
    reclaimed = neglected(tx, tx.now - idle, limit, warned=True)
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
    warned = neglected(tx, tx.now - idle + warn, limit, warned=False)
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


def create_source(tx: Transaction, name: str) -> tuple[CaptureSource, bytes]:
    """Register a source and return it with its new secret; raises AlreadyExists SOURCE_EXISTS."""
    name = parse_text(name, "name", 50)
    secret = secrets.token_bytes(SECRET_BYTES)
    added = tx.session.scalars(
        insert(CaptureSource)
        .values(tenant_id=tx.tenant.id, name=name, secret=secret, create_time=tx.now)
        .on_conflict_do_nothing()
        .returning(CaptureSource)
    ).one_or_none()
    if added is None:
        raise AlreadyExists(
            "SOURCE_EXISTS", "来源“{name}”已登记", "The source “{name}” is registered already", name=name
        )
    return added, secret


def sources(tx: Transaction) -> Sequence[CaptureSource]:
    """Return the registered sources by name."""
    return tx.session.scalars(
        select(CaptureSource).where(CaptureSource.tenant_id == tx.tenant.id).order_by(CaptureSource.name)
    ).all()


def admit_capture(
    tx: Transaction, caller: Caller, source: str, fields: Sequence[str], sign_time: int, signature: str
) -> None:
    """Let a lead from outside in: signed by its source, if that is registered, and within the caller's rate (F136).

    fields: as `capture_signature` takes them. Raises Unauthenticated SIGNATURE_MISSING, SIGNATURE_INVALID or
    SIGNATURE_EXPIRED, Quota CAPTURES_USED_UP.
    """
    known = tx.session.get(CaptureSource, (tx.tenant.id, source.strip()))
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
