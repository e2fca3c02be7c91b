"""Work on a customer: follow-ups and calls as evidence, and locks against the reclaim."""

from datetime import datetime

from sqlalchemy import exists, func, select

from services.chassis.db import Transaction
from services.chassis.errors import Forbidden, RuleViolation, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.domain.actions import may_follow
from services.customers.domain.customers import check_active, check_own
from services.customers.store.ledger import lock_customers, lock_owner
from services.customers.store.rules import Rules, sweep_start
from services.customers.store.tables import Customer, FollowUp
from services.customers.usecases.views import facts_of, seen_customer
from services.customers.workflows.contracts import Sweep
from services.kernel.ownership import call_is_evidence, check_lock


def add_follow_up(tx: Transaction, caller: Caller, customer_id: str, text: str) -> FollowUp:
    """Record work on a customer; it counts at once against the reclaim (F52, F71).

    A text that somebody recorded on this customer before is kept but is no evidence (O10). Raises NotFound
    CUSTOMER_NOT_FOUND, RuleViolation CUSTOMER_NOT_ACTIVE, Forbidden FOLLOW_UP_FORBIDDEN.
    """
    seen_customer(tx, caller, customer_id)
    customer = _lock(tx, customer_id)
    check_active(customer.state)
    if not may_follow(facts_of(tx, caller, customer)):
        raise Forbidden(
            "FOLLOW_UP_FORBIDDEN",
            "只有客户负责人及其上级可以添加跟进记录",
            "Only the customer's owner and superiors may record a follow-up",
        )
    copied = tx.session.scalar(
        select(
            exists().where(
                FollowUp.tenant_id == tx.tenant.id,
                FollowUp.customer_id == customer_id,
                FollowUp.text == text,
            )
        )
    )
    follow_up = FollowUp(
        tenant_id=tx.tenant.id,
        follow_up_id=new_id(),
        customer_id=customer_id,
        author_id=caller.person_id,
        text=text,
        create_time=tx.now,
    )
    tx.session.add(follow_up)
    if not copied:
        _add_evidence(tx, customer, tx.now)
    return follow_up


def add_call(tx: Transaction, customer_id: str, end_time: datetime, *, answered: bool, talk_s: float) -> None:
    """Take a call that is over as evidence (O10); raises NotFound CUSTOMER_NOT_FOUND."""
    if call_is_evidence(answered, talk_s):
        _add_evidence(tx, _lock(tx, customer_id), min(end_time, tx.now))


def _add_evidence(tx: Transaction, customer: Customer, time: datetime) -> None:
    """Move the last evidence forward, never back: events may come in any order."""
    if customer.last_evidence_time and customer.last_evidence_time >= time:
        return
    customer.last_evidence_time = time
    customer.version += 1
    Rules(tx).set_due(customer)


def lock_customer(tx: Transaction, caller: Caller, customer_id: str, days: int) -> Customer:
    """Keep an own customer from being reclaimed for some days, 0 for the usual time; again sets it anew (F14).

    Raises NotFound CUSTOMER_NOT_FOUND, RuleViolation CUSTOMER_NOT_ACTIVE or LOCK_CAP_REACHED, Forbidden NOT_OWNER,
    InvalidInput LOCK_DAYS_OUT_OF_RANGE.
    """
    lock_owner(tx, caller.person_id)
    customer = _own(tx, caller, customer_id)
    others = tx.session.scalar(
        select(func.count()).where(
            Customer.tenant_id == tx.tenant.id,
            Customer.owner_id == caller.person_id,
            Customer.lock_expire_time > tx.now,
            Customer.customer_id != customer_id,
        )
    )
    customer.lock_expire_time = tx.now + check_lock(days, others or 0)
    customer.version += 1
    # A warning from before the lock counts no more when it ends.
    Rules(tx).set_due(customer)
    return customer


def unlock_customer(tx: Transaction, caller: Caller, customer_id: str) -> Customer:
    """End a lock; what is due then is swept at once (F15).

    Raises NotFound CUSTOMER_NOT_FOUND, Forbidden NOT_OWNER, RuleViolation CUSTOMER_NOT_LOCKED.
    """
    customer = _own(tx, caller, customer_id)
    if customer.lock_expire_time is None or customer.lock_expire_time <= tx.now:
        raise RuleViolation("CUSTOMER_NOT_LOCKED", "该客户未锁定", "The customer is not locked")
    customer.lock_expire_time = None
    customer.version += 1
    tx.start_workflow(sweep_start(Sweep(tx.tenant, customer.pool_id or "")))
    return customer


def _own(tx: Transaction, caller: Caller, customer_id: str) -> Customer:
    seen_customer(tx, caller, customer_id)
    customer = _lock(tx, customer_id)
    check_active(customer.state)
    check_own(customer.owner_id, caller.person_id)
    return customer


def _lock(tx: Transaction, customer_id: str) -> Customer:
    found = lock_customers(tx, [customer_id])
    if not found:
        raise not_found("customer", "客户", customer_id)
    return found[0]
