"""A reclaim rule as SQL: when each owned customer of a whole base falls, without reading it.

The same answer as `services.kernel.ownership.fate`; a test compares the two over random rules.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, DateTime, and_, case, func, literal, null, or_
from sqlalchemy.dialects.postgresql import INTERVAL

from services.customers.store.tables import Customer
from services.kernel.ownership import Clause, Evidence, ReclaimRule

NEVER: ColumnElement[Any] = null().cast(DateTime(timezone=True))

COLUMNS = {
    Evidence.FOLLOW_UP: Customer.last_follow_up_time,
    Evidence.CALL: Customer.last_call_time,
    Evidence.ORDER: Customer.last_order_time,
    Evidence.CONTRACT: Customer.last_contract_time,
}


def falls_at(rule: ReclaimRule) -> ColumnElement[datetime | None]:
    """Return when an owned customer falls by a rule; NULL where it never does."""
    # Neither LEAST nor GREATEST minds a NULL.
    ways = [_way(rule, clause) for clause in rule.ways]
    if not ways:
        return NEVER
    falls: ColumnElement[datetime | None] = func.least(*ways) if len(ways) > 1 else ways[0]
    exempt: list[ColumnElement[bool]] = []
    if rule.exempt_levels:
        exempt.append(Customer.level.in_(rule.exempt_levels))
    if rule.exempt_categories:
        exempt.append(Customer.business_type.in_(rule.exempt_categories))
    if rule.exempt_contracted:
        exempt.append(Customer.last_contract_time.is_not(None))
    return case((or_(*exempt), NEVER), else_=falls) if exempt else falls


def reason(rule: ReclaimRule) -> ColumnElement[str]:
    """Return which clause takes an owned customer, in the words of the ledger; "" where none does."""
    ways = [(_way(rule, clause), clause.words) for clause in rule.ways]
    if not ways:
        return literal("")
    first = falls_at(rule)
    return case(*((way == first, literal(words)) for way, words in ways), else_=literal(""))


def _way(rule: ReclaimRule, clause: Clause) -> ColumnElement[datetime | None]:
    dues: list[ColumnElement[datetime]] = []
    if clause.idle_days:
        last = [COLUMNS[kind] for kind in Evidence if kind in rule.evidence]
        dues.append(func.greatest(Customer.own_time, *last) + _days(clause.idle_days))
    if clause.contract_days:
        start = func.greatest(Customer.own_time, Customer.last_contract_time)
        dues.append(start + _days(clause.contract_days))
    due: ColumnElement[Any] = func.greatest(*dues) if len(dues) > 1 else dues[0]
    about: list[ColumnElement[bool]] = []
    if clause.levels:
        about.append(Customer.level.in_(clause.levels))
    if clause.categories:
        about.append(Customer.business_type.in_(clause.categories))
    return case((and_(*about), due), else_=NEVER) if about else due


def _days(days: int) -> ColumnElement[timedelta]:
    return literal(timedelta(days=days), INTERVAL)
