"""A page of a pool: what is in it, or in its trash, with facts to judge a customer by (F24, F25, O7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ARRAY, false, func, literal, select, true, tuple_
from sqlalchemy.orm import aliased

from services.chassis.db import Transaction
from services.chassis.errors import Forbidden, InvalidInput
from services.chassis.tokens import Caller
from services.customers.domain.customers import CustomerState, pool_forbidden
from services.customers.store.rules import get_pool, manages, own_pools
from services.customers.store.tables import Customer, OwnershipChange, RecordId
from services.customers.usecases.views import SeenCustomer, show_all
from services.kernel.filters import may_find
from services.kernel.visibility import sees_all


@dataclass(frozen=True)
class PoolFilter:
    """Which customers of a pool. Of each list one must match; empty: any. query: part of the name."""

    levels: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    business_types: tuple[str, ...] = ()
    query: str = ""
    trashed: bool = False


@dataclass(frozen=True)
class PooledCustomer:
    """A customer in a pool. last: how it came there; times_lost: how often somebody lost it."""

    seen: SeenCustomer
    last: OwnershipChange | None
    times_lost: int


def list_pool_customers(
    tx: Transaction,
    caller: Caller,
    pool_id: str,
    wanted: PoolFilter,
    *,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[PooledCustomer]:
    """Return up to `limit` customers of a pool, newest first.

    Raises NotFound POOL_NOT_FOUND, Forbidden POOL_FORBIDDEN for who is no member, or does not manage its trash,
    InvalidInput FIELD_HIDDEN for a filter by what the pool hides: it would be found out by asking.
    """
    pool = get_pool(tx, pool_id)
    if wanted.trashed and not manages(caller, pool):
        raise Forbidden("POOL_FORBIDDEN", "您不能管理该公海", "You do not manage this pool")
    seen = sees_all(caller) or manages(caller, pool)
    if not seen and pool_id not in (own.pool_id for own in own_pools(tx, caller)):
        raise pool_forbidden()
    asked = {"levels": wanted.levels, "regions": wanted.regions, "business_types": wanted.business_types}
    for name, values in asked.items():
        if values and name.removesuffix("s") in pool.hidden_fields:
            raise InvalidInput(
                name,
                "FIELD_HIDDEN",
                "该公海隐藏了此信息，不能按它筛选",
                "The pool hides this: it is not to be filtered by",
            )
    conditions = [
        Customer.tenant_id == tx.tenant.id,
        Customer.pool_id == pool_id,
        Customer.owner_id.is_(None),
        Customer.state == (CustomerState.TRASHED if wanted.trashed else CustomerState.ACTIVE),
    ]
    if wanted.levels:
        conditions.append(Customer.level.in_(wanted.levels))
    if wanted.regions:
        conditions.append(Customer.region.in_(wanted.regions))
    if wanted.business_types:
        conditions.append(Customer.business_type.in_(wanted.business_types))
    if wanted.query:
        conditions.append(Customer.name.icontains(wanted.query, autoescape=True))
        # In a pool nobody reads a number.
        conditions.append(may_find(Customer.name, wanted.query, false()))
    if after:
        conditions.append(tuple_(Customer.create_time, Customer.customer_id) < after)
    rows = tx.session.scalars(
        select(Customer)
        .where(*conditions)
        .order_by(Customer.create_time.desc(), Customer.customer_id.desc())
        .limit(limit)
    ).all()
    return _with_facts(tx, caller, rows)


def _with_facts(tx: Transaction, caller: Caller, rows: Sequence[Customer]) -> list[PooledCustomer]:
    # A look into the index for each customer of the page: together they were found by reading a tenant's whole ledger.
    asked = (
        func.unnest(literal([row.customer_id for row in rows], ARRAY(RecordId)))
        .table_valued("customer_id")
        .render_derived()
    )
    own = OwnershipChange.tenant_id == tx.tenant.id, OwnershipChange.customer_id == asked.c.customer_id
    last = select(OwnershipChange).where(*own).order_by(OwnershipChange.sequence.desc()).limit(1).lateral()
    change = aliased(OwnershipChange, last, name="change")
    lost = select(func.count()).where(*own, OwnershipChange.from_owner_id.is_not(None)).scalar_subquery()
    found = {
        row.change.customer_id: row
        for row in tx.session.execute(
            select(change, lost.label("lost")).select_from(asked).join(last, true())
        )
    }
    return [
        PooledCustomer(
            seen,
            row.change if (row := found.get(seen.customer.customer_id)) else None,
            row.lost if row else 0,
        )
        for seen in show_all(tx, caller, rows)
    ]
