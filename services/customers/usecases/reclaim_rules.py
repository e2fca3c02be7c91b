"""What a reclaim rule does: to one customer, explained, and to the whole base, tried before it is saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, distinct, func, or_, select

from services.chassis.db import Transaction
from services.chassis.tokens import Caller
from services.customers.store.rule_sql import falls_at
from services.customers.store.rules import AppliedRule, Rules, get_pool, standing
from services.customers.store.tables import Customer
from services.customers.usecases.views import seen_customer
from services.kernel.ownership import Clause, Evidence, ReclaimRule, exemption, fate, resets

# Customers whose fate a tried rule changes, that one answer shows.
MOST_EXAMPLES = 20


@dataclass(frozen=True)
class Explanation:
    """Why and when a customer falls back. clause: None where no rule takes it; exempt: why, "" for no rule."""

    customer: Customer
    applied: AppliedRule
    clause: Clause | None
    resets: Sequence[Evidence]
    exempt: str


@dataclass(frozen=True)
class Effect:
    """So many customers of so many owners would be due."""

    customers: int
    owners: int


@dataclass(frozen=True)
class Example:
    """A customer that only one of the two rules takes. due: by the rule of today; tried: by the new one."""

    customer_id: str
    name: str
    owner_id: str
    due: datetime | None
    tried: datetime | None


@dataclass(frozen=True)
class Trial:
    """What a rule would do, beside the rule of today. customers: how many were looked at."""

    today: Effect
    tried: Effect
    added: Effect
    spared: Effect
    customers: int
    examples: Sequence[Example]


def explain(tx: Transaction, caller: Caller, customer_id: str) -> Explanation:
    """Return why and when an owned customer falls back; raises as `get_customer`.

    The times are those of the customer's row: they are what the sweep goes by.
    """
    customer = seen_customer(tx, caller, customer_id)
    applied = Rules(tx).of(customer.pool_id)
    record = standing(customer)
    falls = fate(applied.rule, record) if customer.owner_id else None
    return Explanation(
        customer,
        applied,
        falls.clause if falls else None,
        resets(applied.rule, falls.clause) if falls else [],
        exemption(applied.rule, record) if customer.owner_id and not falls else "",
    )


def try_rule(tx: Transaction, pool_id: str, rule: ReclaimRule) -> Trial:
    """Count what a rule would take now from the owners of a pool, or ("") of customers that belong to none.

    Nothing is saved. A warning goes before each reclaim: what is due now falls when that was a day ago. Locked
    customers stay. Raises NotFound POOL_NOT_FOUND.
    """
    if pool_id:
        get_pool(tx, pool_id)
    today = falls_at(Rules(tx).of(pool_id or None).rule)
    tried = falls_at(rule)
    owned = [
        Customer.tenant_id == tx.tenant.id,
        Customer.pool_id == pool_id if pool_id else Customer.pool_id.is_(None),
        Customer.owner_id.is_not(None),
        or_(Customer.lock_expire_time.is_(None), Customer.lock_expire_time <= tx.now),
    ]
    times = (
        select(
            Customer.customer_id,
            Customer.name,
            Customer.owner_id,
            today.label("today"),
            tried.label("tried"),
        )
        .where(*owned)
        .subquery()
    )
    by_today = func.coalesce(times.c.today <= tx.now, False)
    by_tried = func.coalesce(times.c.tried <= tx.now, False)
    parts: tuple[ColumnElement[bool], ...] = (
        by_today,
        by_tried,
        by_tried & ~by_today,
        by_today & ~by_tried,
    )
    counts = [
        count
        for part in parts
        for count in (func.count().filter(part), func.count(distinct(times.c.owner_id)).filter(part))
    ]
    row = tx.session.execute(select(func.count(), *counts).select_from(times)).one()
    examples = tx.session.execute(
        select(times)
        .where(by_today != by_tried)
        .order_by(func.least(times.c.today, times.c.tried), times.c.customer_id)
        .limit(MOST_EXAMPLES)
    )
    today_, tried_, added, spared = (Effect(row[number], row[number + 1]) for number in range(1, 9, 2))
    return Trial(
        today=today_,
        tried=tried_,
        added=added,
        spared=spared,
        customers=row[0],
        examples=[
            Example(item.customer_id, item.name, item.owner_id, item.today, item.tried) for item in examples
        ],
    )
