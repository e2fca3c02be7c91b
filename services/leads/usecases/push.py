"""Leads of the pool are pushed to reps at set times (F135).

A push of a set time is one row, locked while it works, and goes on from what it gave: a worker that dies in the middle
is followed by another that gives what is left, and nobody gets more than the rule says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction, WorkflowStart
from services.leads.domain.pool import Cause
from services.leads.domain.push import (
    LeftOut,
    PushRule,
    Taker,
    check_push_rule,
    due_time,
    left_out,
    next_taker,
    next_time,
)
from services.leads.domain.states import OWNED_STATES, LeadAction, LeadState, next_lead_state
from services.leads.store.ledger import Owner, gain, lock_owner, pool_rules
from services.leads.store.pools import all_pools, members
from services.leads.store.tables import Lead, LeadPush, OwnershipChange
from services.leads.store.tables import PushRule as PushRuleRow
from services.leads.usecases.leads import Person, move_lead
from services.leads.workflows.contracts import (
    PUSH_WORKFLOW,
    QUEUE,
    RULE_CHANGED,
    PushLoop,
    push_workflow_id,
)

# What a rep must be able to do with a lead.
RIGHT = "leads.follow"


@dataclass(frozen=True)
class DuePush:
    """A push that has to be made: of which set time, and whom it may concern."""

    set_time: datetime
    person_ids: tuple[str, ...]


def push_rule(tx: Transaction) -> PushRule:
    """Return the tenant's rule; one that never was set pushes nothing."""
    row = tx.session.get(PushRuleRow, tx.tenant.id)
    return _rule(row) if row else PushRule()


def update_push_rule(tx: Transaction, rule: PushRule) -> PushRule:
    """Set the tenant's rule: it holds from the next set time on. Raises InvalidInput naming the field."""
    rule = check_push_rule(rule)
    values = {
        "times": list(rule.times),
        "person_ids": list(rule.person_ids),
        "per_push": rule.per_push,
        "most_waiting": rule.most_waiting,
        "set_time": tx.now,
    }
    tx.session.execute(
        insert(PushRuleRow)
        .values(tenant_id=tx.tenant.id, **values)
        .on_conflict_do_update(index_elements=[PushRuleRow.tenant_id], set_=values)
    )
    # It sleeps until the next time that it knows of.
    tx.start_workflow(
        WorkflowStart(
            PUSH_WORKFLOW, push_workflow_id(tx.tenant.id), QUEUE, PushLoop(tx.tenant), signal=RULE_CHANGED
        )
    )
    return rule


def push_due(tx: Transaction) -> DuePush | None:
    """Return the push that has to be made now, if it is not done; None otherwise."""
    row = tx.session.get(PushRuleRow, tx.tenant.id)
    moment = due_time(row.times, tx.now, row.set_time) if row else None
    if row is None or moment is None:
        return None
    made = tx.session.get(LeadPush, (tx.tenant.id, moment))
    return None if made and made.finish_time else DuePush(moment, tuple(row.person_ids))


def wait_s(tx: Transaction) -> float:
    """Return the seconds until the next set time, 0 for a rule without one."""
    moment = next_time(push_rule(tx).times, tx.now)
    return (moment - tx.now).total_seconds() if moment else 0.0


def push(
    tx: Transaction, set_time: datetime, people: Sequence[Person], absent: frozenset[str], limit: int
) -> bool:
    """Give up to `limit` leads of the pool, oldest first; return whether there may be more to give.

    people: who takes part, as identity describes them now. absent: who is on leave or off shift. Whoever cannot take
    leads is left out and the reason noted.
    """
    row = tx.session.scalars(
        select(PushRuleRow).where(PushRuleRow.tenant_id == tx.tenant.id).with_for_update()
    ).one()
    made = _made(tx, set_time)
    if made.finish_time:
        return False
    if row.set_time >= set_time:
        # Another rule by now: it holds from its own next time on.
        made.finish_time = tx.now
        return False
    rule, cap = _rule(row), pool_rules(tx).owner_cap
    known = {person.person_id: person for person in people}
    out = {
        person_id: reason for person_id in rule.person_ids if (reason := _unable(known, absent, person_id))
    }
    able = [person_id for person_id in rule.person_ids if person_id not in out]
    # Everybody's row before any lead, in one order.
    for person_id in sorted(able):
        lock_owner(tx, person_id)
    takers = _takers(tx, able, made.given)
    outsiders = _outsiders(tx, [known[person_id] for person_id in able])
    takers_left = {person_id for person_id, taker in takers.items() if not left_out(taker, rule, cap)}
    # A pool without anybody who takes its leads must not keep those of others waiting behind it.
    leads = _waiting_leads(tx, [pool for pool, barred in outsiders.items() if takers_left - barred], limit)
    refused = _refused(tx, leads)
    given = 0
    for lead in leads:
        barred = outsiders.get(lead.pool_id, frozenset()) | {refused.get(lead.id, "")}
        person_id = next_taker(takers, rule, cap, barred)
        if not person_id:
            continue
        _give(tx, lead, known[person_id])
        taker = takers[person_id]
        takers[person_id] = replace(
            taker, waiting=taker.waiting + 1, owned=taker.owned + 1, given=taker.given + 1
        )
        given += 1
    made.given = {person_id: taker.given for person_id, taker in takers.items() if taker.given}
    for person_id, taker in takers.items():
        if reason := left_out(taker, rule, cap):
            out[person_id] = reason
    made.left_out = {person_id: reason.value for person_id, reason in out.items()}
    more = given > 0 and len(leads) == limit
    if not more:
        made.finish_time = tx.now
        made.remaining = _remaining(tx)
    return more


def pushes(tx: Transaction, limit: int) -> Sequence[LeadPush]:
    """Return the last pushes, newest first."""
    return tx.session.scalars(
        select(LeadPush)
        .where(LeadPush.tenant_id == tx.tenant.id)
        .order_by(LeadPush.set_time.desc())
        .limit(limit)
    ).all()


def _rule(row: PushRuleRow) -> PushRule:
    return PushRule(tuple(row.times), tuple(row.person_ids), row.per_push, row.most_waiting)


def _made(tx: Transaction, set_time: datetime) -> LeadPush:
    tx.session.execute(
        insert(LeadPush)
        .values(
            tenant_id=tx.tenant.id,
            set_time=set_time,
            begin_time=tx.now,
            given={},
            left_out={},
            remaining=0,
        )
        .on_conflict_do_nothing()
    )
    return tx.session.get_one(LeadPush, (tx.tenant.id, set_time))


def _unable(known: Mapping[str, Person], absent: frozenset[str], person_id: str) -> LeftOut | None:
    person = known.get(person_id)
    if person is None or not person.active:
        return LeftOut.DISABLED
    if RIGHT not in person.rights:
        return LeftOut.NO_RIGHT
    return LeftOut.ABSENT if person_id in absent else None


def _takers(tx: Transaction, person_ids: Sequence[str], given: Mapping[str, int]) -> dict[str, Taker]:
    waiting = func.count().filter(Lead.state == LeadState.ASSIGNED)
    rows = tx.session.execute(
        select(Lead.owner_id, func.count(), waiting)
        .where(Lead.tenant_id == tx.tenant.id, Lead.owner_id.in_(person_ids), Lead.state.in_(OWNED_STATES))
        .group_by(Lead.owner_id)
    )
    loads = {owner_id: (owned, waits) for owner_id, owned, waits in rows}
    return {
        person_id: Taker(
            person_id,
            waiting=loads.get(person_id, (0, 0))[1],
            owned=loads.get(person_id, (0, 0))[0],
            given=given.get(person_id, 0),
        )
        for person_id in person_ids
    }


def _outsiders(tx: Transaction, people: Sequence[Person]) -> dict[str | None, frozenset[str]]:
    """Return who of these people takes no leads of a pool, by pool as leads keep it: nobody in the tenant's own."""
    scopes = {pool.id: members(pool) for pool in all_pools(tx)}
    outside: dict[str | None, frozenset[str]] = {None: frozenset()}
    for pool_id, scope in scopes.items():
        outside[pool_id] = frozenset(
            person.person_id
            for person in people
            if not scope.admits(person.person_id, person.department_path, person.roles, person.region_ids)
        )
    return outside


def _waiting_leads(tx: Transaction, pool_ids: Sequence[str | None], limit: int) -> Sequence[Lead]:
    """Lock leads that wait in these pools, oldest first."""
    in_these = Lead.pool_id.in_([pool_id for pool_id in pool_ids if pool_id])
    return tx.session.scalars(
        select(Lead)
        .where(
            Lead.tenant_id == tx.tenant.id,
            Lead.state == LeadState.UNASSIGNED,
            or_(Lead.pool_id.is_(None), in_these) if None in pool_ids else in_these,
        )
        .order_by(Lead.create_time, Lead.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


def _refused(tx: Transaction, leads: Sequence[Lead]) -> dict[str, str]:
    """Return who lost each of these leads last by giving it up or neglecting it."""
    rows = tx.session.execute(
        select(OwnershipChange.lead_id, OwnershipChange.from_owner_id, OwnershipChange.cause)
        .where(
            OwnershipChange.tenant_id == tx.tenant.id,
            OwnershipChange.lead_id.in_([lead.id for lead in leads]),
            OwnershipChange.from_owner_id.is_not(None),
        )
        .order_by(OwnershipChange.id)
    )
    last = {lead_id: (owner_id, cause) for lead_id, owner_id, cause in rows}
    return {
        lead_id: owner_id or ""
        for lead_id, (owner_id, cause) in last.items()
        if cause in (Cause.RETURN, Cause.RECLAIM)
    }


def _give(tx: Transaction, lead: Lead, person: Person) -> None:
    after = next_lead_state(LeadState(lead.state), LeadAction.ASSIGN)
    gain(tx, lead, Owner(person.person_id, person.department_path), Cause.PUSH)
    move_lead(tx, lead, after, "")
    tx.emit(
        "lead_assigned",
        lead.id,
        lead.version,
        {"leadId": lead.id, "ownerId": person.person_id, "name": lead.name},
    )


def _remaining(tx: Transaction) -> int:
    query = select(func.count()).where(Lead.tenant_id == tx.tenant.id, Lead.state == LeadState.UNASSIGNED)
    return tx.session.scalar(query) or 0
