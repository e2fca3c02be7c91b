"""Customers that came into a pool get an owner by the pool's rules of allocation (F32)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, AppError, Conflict, not_found
from services.chassis.ids import new_id
from services.customers.domain.customers import (
    Cause,
    CustomerState,
    Owner,
    check_active,
    check_claimable,
)
from services.customers.store.ledger import Change, change_owner, lock_owners
from services.customers.store.rules import get_pool
from services.customers.store.tables import AllocationRule, Customer, OwnershipChange, Pool, Staff
from services.kernel.ownership import Candidate, check_cool_down, choose_owner

# A refusal that lets the next one in the rule's order have the customer.
NEXT = ("OWNER_CAP_REACHED", "COOLING_DOWN")


def allocation_rules(tx: Transaction, pool_id: str = "", *, lock: bool = False) -> Sequence[AllocationRule]:
    """Return the rules of a pool, "" for all pools, in the order in which they are tried."""
    query = select(AllocationRule).where(AllocationRule.tenant_id == tx.tenant.id)
    if pool_id:
        query = query.where(AllocationRule.pool_id == pool_id)
    query = query.order_by(AllocationRule.position, AllocationRule.rule_id)
    return tx.session.scalars(query.with_for_update() if lock else query).all()


def allocate(tx: Transaction, pool_id: str, limit: int) -> int:
    """Give one customer that waits for it an owner, or let it stay in the pool; return how many were looked at.

    One in a transaction: who gains is locked before the customer, and the next one's choice hangs on this one's. The
    rules are locked first, so that two sweeps don't take the same turn. The same input gives the same owner.
    """
    rules = allocation_rules(tx, pool_id, lock=True) if pool_id else ()
    if not rules:
        return 0
    customer = tx.session.scalars(
        select(Customer)
        .where(
            Customer.tenant_id == tx.tenant.id,
            Customer.pool_id == pool_id,
            Customer.allocate_due,
            Customer.owner_id.is_(None),
            Customer.state == CustomerState.ACTIVE,
        )
        .order_by(Customer.create_time, Customer.customer_id)
        .limit(1)
    ).first()
    if customer is None:
        return 0
    rule = next((rule for rule in rules if _is_about(rule, customer)), None)
    if rule is None or not _give(tx, rule, customer.customer_id):
        customer.allocate_due = False
    return 1


def _give(tx: Transaction, rule: AllocationRule, customer_id: str) -> bool:
    staff = {
        person.person_id: person
        for person in tx.session.scalars(
            select(Staff).where(
                Staff.tenant_id == tx.tenant.id, Staff.person_id.in_(rule.person_ids), Staff.active
            )
        )
    }
    losses = tx.session.scalars(
        select(OwnershipChange)
        .where(
            OwnershipChange.tenant_id == tx.tenant.id,
            OwnershipChange.customer_id == customer_id,
            OwnershipChange.from_owner_id.is_not(None),
        )
        .order_by(OwnershipChange.sequence.desc())
    ).all()
    # Who just gave it up, or neglected it, is not asked again.
    refused = losses[0].from_owner_id if losses and losses[0].cause in (Cause.RETURN, Cause.RECLAIM) else None
    former = next((loss.from_owner_id for loss in losses if loss.from_owner_id != refused), None)
    loads = _loads(tx, list(staff))
    candidates = [
        Candidate(person_id, loads.get(person_id, 0))
        for person_id in rule.person_ids
        if person_id in staff and person_id != refused
    ]
    order = choose_owner(
        candidates,
        rule.turn,
        least_loaded=rule.least_loaded,
        former_owner_id=(former or "") if rule.former_owner_first else "",
    )
    pool = tx.session.get_one(Pool, (tx.tenant.id, rule.pool_id))
    lost = {loss.from_owner_id or "": loss.create_time for loss in reversed(losses)}
    # Everybody's row before the customer, whom the next one may get.
    lock_owners(tx, order)
    for person_id in order:

        def check(customer: Customer, person_id: str = person_id) -> None:
            # Claimed, assigned or thrown out since it was looked at.
            check_claimable(customer.owner_id, customer.pool_id, customer.pool_id == rule.pool_id)
            check_active(customer.state)
            if pool.cool_down_days:
                check_cool_down(lost.get(person_id), pool.cool_down_days, tx.now)

        owner = Owner(person_id, staff[person_id].department_path)
        change = Change(Cause.ALLOCATE, owner, reason=rule.name)
        result = change_owner(tx, [customer_id], change, check)[customer_id]
        if not isinstance(result, AppError):
            rule.turn += 1
            return True
        if result.reason not in NEXT:
            return False
    return False


def _loads(tx: Transaction, person_ids: Sequence[str]) -> dict[str, int]:
    rows = tx.session.execute(
        select(Customer.owner_id, func.count())
        .where(Customer.tenant_id == tx.tenant.id, Customer.owner_id.in_(person_ids))
        .group_by(Customer.owner_id)
    )
    return {row[0] or "": row[1] for row in rows}


def _is_about(rule: AllocationRule, customer: Customer) -> bool:
    return (not rule.regions or customer.region in rule.regions) and (
        not rule.levels or customer.level in rule.levels
    )


@dataclass(frozen=True)
class AllocationDraft:
    """A rule as somebody wants it; see the table."""

    name: str
    pool_id: str
    position: int
    regions: tuple[str, ...]
    levels: tuple[str, ...]
    least_loaded: bool
    former_owner_first: bool
    person_ids: tuple[str, ...]


def save_allocation_rule(
    tx: Transaction, rule_id: str, version: int, draft: AllocationDraft
) -> AllocationRule:
    """Make a rule, or change the one that was read at `version`; it is about what comes from now on.

    Raises NotFound POOL_NOT_FOUND or ALLOCATION_RULE_NOT_FOUND, Conflict ALLOCATION_RULE_CHANGED, AlreadyExists
    ALLOCATION_RULE_NAME_TAKEN.
    """
    get_pool(tx, draft.pool_id)
    taken = tx.session.scalar(
        select(AllocationRule.rule_id).where(
            AllocationRule.tenant_id == tx.tenant.id, AllocationRule.name == draft.name
        )
    )
    if taken and taken != rule_id:
        raise AlreadyExists(
            "ALLOCATION_RULE_NAME_TAKEN",
            "已有名为“{name}”的分配规则",
            "There is an allocation rule named {name} already",
            name=draft.name,
        )
    row = (
        _locked(tx, rule_id)
        if rule_id
        else AllocationRule(tenant_id=tx.tenant.id, rule_id=new_id(), version=0, turn=0)
    )
    if rule_id and row.version != version:
        raise Conflict(
            "ALLOCATION_RULE_CHANGED",
            "分配规则已被他人修改，请刷新后重试",
            "The rule was changed meanwhile; read it anew",
        )
    row.name, row.pool_id, row.position = draft.name, draft.pool_id, draft.position
    row.regions, row.levels = list(draft.regions), list(draft.levels)
    row.least_loaded, row.former_owner_first = draft.least_loaded, draft.former_owner_first
    row.person_ids = list(draft.person_ids)
    row.version += 1
    tx.session.add(row)
    tx.session.flush()
    return row


def delete_allocation_rule(tx: Transaction, rule_id: str) -> None:
    """Remove a rule; raises NotFound ALLOCATION_RULE_NOT_FOUND."""
    tx.session.delete(_locked(tx, rule_id))


def _locked(tx: Transaction, rule_id: str) -> AllocationRule:
    row = tx.session.get(AllocationRule, (tx.tenant.id, rule_id), with_for_update=True)
    if row is None:
        raise not_found("allocation_rule", "分配规则", rule_id)
    return row
