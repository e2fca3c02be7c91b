"""The ownership ledger: the one function through which an owner comes or goes, whatever the cause.

Locks are taken in one order everywhere: the row of who gains, then the customers by id. The owner is compared under
the lock of the customer's row and set with a row in the append-only ledger; caps and quotas are counted under the lock
of who gains. Only a gain takes that lock: a loss makes room and nothing else. The database refuses any other way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as pg_insert

from services.chassis.db import Transaction
from services.chassis.errors import AppError, not_found
from services.chassis.ids import new_id
from services.customers.domain.customers import Cause, CustomerState, Owner
from services.customers.metrics import OWNERSHIP_CHANGES
from services.customers.store.rules import Rules, get_pool, tenant_settings
from services.customers.store.tables import Customer, OwnerCounter, OwnershipChange
from services.kernel.china_time import day_start
from services.kernel.ownership import check_cap, check_daily_claims

# How others are told, by cause; the causes that are left make a customer.
POOL_EVENTS = {
    Cause.CLAIM: "customer_claimed",
    Cause.RETURN: "customer_returned",
    Cause.RECLAIM: "customer_reclaimed",
}


@dataclass(frozen=True)
class Change:
    """What shall happen. to: who gains, None for a pool. pool_id: to which pool it belongs then, "" as before."""

    cause: Cause
    to: Owner | None
    pool_id: str = ""
    reason: str = ""


def change_owner(
    tx: Transaction,
    customer_ids: Sequence[str],
    change: Change,
    check: Callable[[Customer], None],
) -> dict[str, Customer | AppError]:
    """Change the owner of each customer that `check` and the rules let pass.

    check: looks at the locked customer and raises when it may not be. Returns for each id the customer as it is now,
    or why not: the error of `check`, NotFound, OWNER_CAP_REACHED or DAILY_CLAIMS_USED_UP.
    """
    room = _Room(tx, change, customer_ids) if change.to else None
    locked = {customer.customer_id: customer for customer in lock_customers(tx, customer_ids)}
    results: dict[str, Customer | AppError] = {}
    rules = Rules(tx)
    rows: list[dict[str, Any]] = []
    for customer_id in dict.fromkeys(customer_ids):
        try:
            if customer_id not in locked:
                raise not_found("customer", "客户", customer_id)
            customer = locked[customer_id]
            check(customer)
            inputs = room.take(customer) if room else _neglect(customer)
        except AppError as refused:
            results[customer_id] = refused
            continue
        results[customer_id] = customer
        rows.append(
            {
                "tenant_id": tx.tenant.id,
                "change_id": new_id(),
                "customer_id": customer_id,
                "from_owner_id": customer.owner_id,
                "to_owner_id": change.to.person_id if change.to else None,
                "pool_id": change.pool_id or customer.pool_id,
                "cause": change.cause,
                "actor_id": tx.actor_id or None,
                "reason": change.reason,
                "rule_version": rules.of(customer.pool_id).version,
                "inputs": inputs,
                "create_time": tx.now,
            }
        )
    if rows:
        # Before the customers: the database lets an owner pass whom the ledger's last row names.
        tx.session.execute(insert(OwnershipChange), rows)
    for row in rows:
        _apply(tx, locked[row["customer_id"]], change, row["pool_id"], rules)
    tx.session.flush()
    for row in rows:
        _tell(tx, locked[row["customer_id"]], change, row["from_owner_id"])
        OWNERSHIP_CHANGES.labels(change.cause).inc()
    return results


def change_one(
    tx: Transaction, customer_id: str, change: Change, check: Callable[[Customer], None]
) -> Customer:
    """Change one customer's owner and return it; raises why not."""
    result = change_owner(tx, [customer_id], change, check)[customer_id]
    if isinstance(result, AppError):
        raise result
    return result


def lock_owner(tx: Transaction, person_id: str) -> None:
    """Lock the row under which somebody's customers are counted; before any customer is locked."""
    tx.session.execute(
        pg_insert(OwnerCounter).values(tenant_id=tx.tenant.id, owner_id=person_id).on_conflict_do_nothing()
    )
    tx.session.execute(
        select(OwnerCounter.owner_id)
        .where(OwnerCounter.tenant_id == tx.tenant.id, OwnerCounter.owner_id == person_id)
        .with_for_update()
    )


def lock_customers(tx: Transaction, customer_ids: Sequence[str]) -> Sequence[Customer]:
    """Lock customers in the order of their ids and return them as they are now."""
    return tx.session.scalars(
        select(Customer)
        .where(Customer.tenant_id == tx.tenant.id, Customer.customer_id.in_(customer_ids))
        .order_by(Customer.customer_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def check_room(tx: Transaction, person_id: str) -> None:
    """Raise OWNER_CAP_REACHED unless somebody may have one customer more; locks the person's row (F28)."""
    lock_owner(tx, person_id)
    check_cap(_used(tx, person_id, ()), tenant_settings(tx).owner_cap)


def _used(tx: Transaction, person_id: str, passing: Sequence[str]) -> int:
    """Count what somebody owns; a registration that waits takes its place already, unless it is the one passing."""
    waiting = and_(
        Customer.submitter_id == person_id,
        Customer.state == CustomerState.PENDING,
        Customer.customer_id.not_in(passing),
    )
    query = select(func.count()).where(
        Customer.tenant_id == tx.tenant.id, or_(Customer.owner_id == person_id, waiting)
    )
    return tx.session.scalar(query) or 0


class _Room:
    """What somebody who gains may still take; made before the customers are locked."""

    def __init__(self, tx: Transaction, change: Change, customer_ids: Sequence[str]) -> None:
        if change.to is None:
            raise ValueError("only a gain needs room")
        self._tx = tx
        self._cause = change.cause
        self._person_id = change.to.person_id
        lock_owner(tx, self._person_id)
        self._limit = tenant_settings(tx).owner_cap
        self._used = _used(tx, self._person_id, customer_ids)
        self._claimed: dict[str, int] = {}

    def take(self, customer: Customer) -> dict[str, Any]:
        """Count one customer more and return what was decided on; raises when it does not fit."""
        check_cap(self._used, self._limit)
        inputs: dict[str, Any] = {"used": self._used, "limit": self._limit}
        if self._cause == Cause.CLAIM and customer.pool_id:
            pool = get_pool(self._tx, customer.pool_id)
            claimed = self._claimed.get(pool.pool_id)
            if claimed is None:
                claimed = self._claims_today(pool.pool_id)
            check_daily_claims(claimed, pool.daily_claims, self._tx.now)
            self._claimed[pool.pool_id] = claimed + 1
            inputs |= {"claimed_today": claimed, "daily_claims": pool.daily_claims}
        self._used += 1
        return inputs

    def _claims_today(self, pool_id: str) -> int:
        query = select(func.count()).where(
            OwnershipChange.tenant_id == self._tx.tenant.id,
            OwnershipChange.to_owner_id == self._person_id,
            OwnershipChange.cause == Cause.CLAIM,
            OwnershipChange.pool_id == pool_id,
            OwnershipChange.create_time >= day_start(self._tx.now),
        )
        return self._tx.session.scalar(query) or 0


def _neglect(customer: Customer) -> dict[str, Any]:
    """Return what a loss was decided on."""
    times = {
        "own_time": customer.own_time,
        "last_evidence_time": customer.last_evidence_time,
        "warned_time": customer.warned_time,
        "reclaim_due_at": customer.reclaim_due_at,
    }
    return {name: time.isoformat() for name, time in times.items() if time}


def _apply(tx: Transaction, customer: Customer, change: Change, pool_id: str | None, rules: Rules) -> None:
    customer.state = CustomerState.ACTIVE
    customer.owner_id = change.to.person_id if change.to else None
    customer.owner_department_path = change.to.department_path if change.to else ""
    customer.own_time = tx.now if change.to else None
    customer.pool_id = pool_id
    customer.lock_expire_time = None
    customer.version += 1
    rules.set_due(customer)


def _tell(tx: Transaction, customer: Customer, change: Change, from_owner_id: str | None) -> None:
    if change.cause in POOL_EVENTS:
        tx.emit(
            POOL_EVENTS[change.cause],
            customer.customer_id,
            customer.version,
            {
                "customerId": customer.customer_id,
                "name": customer.name,
                "fromOwnerId": from_owner_id or "",
                "toOwnerId": customer.owner_id or "",
                "poolId": customer.pool_id or "",
                "cause": change.cause,
            },
        )
        return
    tx.emit(
        "customer_created",
        customer.customer_id,
        customer.version,
        {
            "customerId": customer.customer_id,
            "reservationId": customer.reservation_id or "",
            "ownerId": customer.owner_id or "",
            "poolId": customer.pool_id or "",
        },
    )
