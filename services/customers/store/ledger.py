"""The ownership ledger: the one place where an owner comes or goes, whatever the cause.

Locks are taken in one order everywhere: the rows of who gains in the order of their ids, then the customers by id. The
owner is compared under the lock of the customer's row and set with a row in the append-only ledger; caps, quotas and
cool-downs are counted under the lock of who gains. Only a gain takes that lock: a loss makes room and nothing else. The
database refuses any other way.

`change_owners` looks at each customer, and writes what passed in one statement, however many. `lose_owners` takes many
from their owners for one cause without looking at each: the night's reclaim of a large base. Both leave the same rows
and tell the same.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    any_,
    bindparam,
    distinct,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm.attributes import set_committed_value

from services.chassis.bulk import as_rows, insert_rows, inserting, updating
from services.chassis.db import Transaction
from services.chassis.errors import AppError, not_found
from services.chassis.ids import new_id
from services.customers.domain.customers import Cause, CustomerState, Owner
from services.customers.metrics import OWNERSHIP_CHANGES
from services.customers.store.caps import COUNTED, Caps, Holder
from services.customers.store.rules import Rules, get_pool, sweep_start
from services.customers.store.tables import (
    AllocationRule,
    Customer,
    OwnerCounter,
    OwnershipChange,
    Pool,
    RecordId,
)
from services.customers.workflows.contracts import Sweep
from services.kernel.ownership import (
    Cap,
    check_claims,
    check_cool_down,
    check_new_data,
    period_start,
)

# How others are told, by cause; the causes that are left make a customer.
POOL_EVENTS = {
    Cause.CLAIM: "customer_claimed",
    Cause.RETURN: "customer_returned",
    Cause.RECLAIM: "customer_reclaimed",
    Cause.ASSIGN: "customer_assigned",
    Cause.ALLOCATE: "customer_assigned",
    Cause.TRANSFER: "customer_transferred",
    Cause.HAND_OVER: "customer_transferred",
    Cause.TRASH: "customer_trashed",
    Cause.RESTORE: "customer_restored",
    Cause.REVERSE: "customer_reclaim_reversed",
    Cause.MERGE: "customer_merged",
    Cause.UNMERGE: "customer_unmerged",
}

# Statements of every gain, made once: to put one together costs more than to run it.
_LOCK_OWNERS = (
    select(OwnerCounter.owner_id)
    .where(
        OwnerCounter.tenant_id == bindparam("tenant_id"),
        OwnerCounter.owner_id == any_(bindparam("owner_ids", type_=ARRAY(RecordId))),
    )
    .order_by(OwnerCounter.owner_id)
    .with_for_update()
)
_LOCK_CUSTOMERS = (
    select(Customer)
    .where(
        Customer.tenant_id == bindparam("tenant_id"),
        Customer.customer_id == any_(bindparam("customer_ids", type_=ARRAY(RecordId))),
    )
    .order_by(Customer.customer_id)
    .with_for_update(of=Customer)
    .execution_options(populate_existing=True)
)
_OWNERS = _LOCK_OWNERS.cte("owners")
# Owners before customers in one round trip: what hangs on no row is asked before the first row. No customer comes where
# an owner has no row to lock yet.
_LOCK_BOTH = _LOCK_CUSTOMERS.where(
    select(func.count()).select_from(_OWNERS).scalar_subquery()
    == func.cardinality(bindparam("owner_ids", type_=ARRAY(RecordId)))
)
_CLAIMS = (
    OwnershipChange.tenant_id == bindparam("tenant_id"),
    OwnershipChange.to_owner_id == bindparam("person_id"),
    OwnershipChange.cause == literal_column(f"'{Cause.CLAIM.value}'"),
    OwnershipChange.pool_id == bindparam("pool_id"),
    OwnershipChange.create_time >= bindparam("since"),
)
# Customers and requests of a period.
_COUNT_CLAIMS = select(func.count(), func.count(distinct(OwnershipChange.batch_id))).where(*_CLAIMS)
_COUNT_ALL = select(*_COUNT_CLAIMS.subquery().c, COUNTED)

# What a customer is after a change that ends its use.
ENDS = {Cause.TRASH: CustomerState.TRASHED, Cause.MERGE: CustomerState.MERGED}


@dataclass(frozen=True)
class Change:
    """What shall happen. to: who gains, None for a pool. pool_id: to which pool it belongs then, "" as before."""

    cause: Cause
    to: Owner | None
    pool_id: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Loss:
    """Why many customers leave their owners at once. pool_id: the pool that they go to.

    reason: of each customer, in the words of the ledger. rule_version: of the rule that it was decided by.
    """

    cause: Cause
    pool_id: str
    reason: ColumnElement[str]
    rule_version: int


def change_owner(
    tx: Transaction,
    customer_ids: Sequence[str],
    change: Change,
    check: Callable[[Customer], None],
) -> dict[str, Customer | AppError]:
    """Change the owner of each customer that `check` and the rules let pass; see `change_owners`."""
    return change_owners(tx, dict.fromkeys(customer_ids, change), check)


def change_owners(
    tx: Transaction, changes: Mapping[str, Change], check: Callable[[Customer], None]
) -> dict[str, Customer | AppError]:
    """Change the owner of each customer that `check` and the rules let pass, each as its change says.

    changes: by customer's id. check: looks at the locked customer and raises when it may not be. Returns for each id
    the customer as it is now, or why not: the error of `check`, NotFound, OWNER_CAP_REACHED, and of a claim
    DAILY_CLAIMS_USED_UP, CLAIM_REQUESTS_USED_UP, COOLING_DOWN or NEW_DATA_PROTECTED.
    """
    rooms = _rooms(tx, changes.values(), tuple(changes))
    locked = {customer.customer_id: customer for customer in _lock(tx, list(rooms), list(changes))}
    results: dict[str, Customer | AppError] = {}
    rules, batch_id = Rules(tx), new_id()
    rows: list[dict[str, Any]] = []
    for customer_id, change in changes.items():
        try:
            if customer_id not in locked:
                raise not_found("customer", "客户", customer_id)
            customer = locked[customer_id]
            check(customer)
            inputs = rooms[change.to.person_id].take(customer) if change.to else _neglect(customer)
        except AppError as refused:
            results[customer_id] = refused
            continue
        results[customer_id] = customer
        rows.append(_recorded(tx, customer, change, rules, batch_id, inputs))
    for row in rows:
        _apply(tx, locked[row["customer_id"]], changes[row["customer_id"]], row["pool_id"], rules)
    changed = [locked[row["customer_id"]] for row in rows]
    _let_allocate(tx, changed, changes)
    for row in rows:
        _tell(tx, locked[row["customer_id"]], changes[row["customer_id"]], row["from_owner_id"])
    _write(tx, rows, changed)
    for cause, count in Counter(row["cause"] for row in rows).items():
        OWNERSHIP_CHANGES.labels(cause).inc(count)
    return results


def change_one(
    tx: Transaction, customer_id: str, change: Change, check: Callable[[Customer], None]
) -> Customer:
    """Change one customer's owner and return it; raises why not."""
    result = change_owner(tx, [customer_id], change, check)[customer_id]
    if isinstance(result, AppError):
        raise result
    return result


def add_owned(
    tx: Transaction, rows: Sequence[dict[str, Any]], changes: Mapping[str, Change]
) -> dict[str, AppError]:
    """Add customers that begin with an owner or in a pool, with their rows of the ledger: one statement for all.

    rows: the columns of each, which this completes. changes: by customer's id. Returns why not, for those that there is
    no room for: they are not added. A customer that is added and changed after that is written twice, and so is every
    index; nobody else sees these yet, so there is nothing to lock but who gains.
    """
    rooms = _rooms(tx, changes.values())
    if rooms:
        lock_owners(tx, list(rooms))
    pool_ids = {change.pool_id for change in changes.values() if not change.to}
    allocating = _allocating(tx, pool_ids) if pool_ids else set()
    refused: dict[str, AppError] = {}
    recorded = list[dict[str, Any]]()
    rules, batch_id = Rules(tx), new_id()
    # What a change makes of customers that are alike in what caps and rules look at, and what the ledger holds of it:
    # of thousands there are few such.
    alike: dict[tuple[Any, ...], tuple[Customer, dict[str, Any], dict[str, Any]]] = {}
    for row in rows:
        customer_id, change = row["customer_id"], changes[row["customer_id"]]
        kind = (change, row["region"], row["level"], row["business_type"])
        if kind not in alike:
            fresh, applied = Customer(**row), Customer(**row)
            _apply(tx, applied, change, change.pool_id or None, rules)
            applied.allocate_due = change.to is None and change.pool_id in allocating
            columns = {name: getattr(applied, name) for name in _SET}
            alike[kind] = fresh, columns, _recorded(tx, fresh, change, rules, batch_id, {})
        fresh, columns, record = alike[kind]
        try:
            inputs = rooms[change.to.person_id].take(fresh) if change.to else _neglect(fresh)
        except AppError as full:
            refused[customer_id] = full
            continue
        recorded.append(record | {"change_id": new_id(), "customer_id": customer_id, "inputs": inputs})
        row.update(columns)
    added = [row for row in rows if row["customer_id"] not in refused]
    if not added:
        return refused
    # Both in one statement: a row of the ledger is of a customer, whose owner is whom the ledger names.
    ledger = insert_rows(OwnershipChange, recorded).cte("recorded")
    tx.session.execute(insert_rows(Customer, added).add_cte(ledger))
    _wake_allocation(tx, allocating)
    for row in added:
        _tell_created(tx, row)
    OWNERSHIP_CHANGES.labels(Cause.CREATE).inc(len(added))
    return refused


def _recorded(
    tx: Transaction,
    customer: Customer,
    change: Change,
    rules: Rules,
    batch_id: str,
    inputs: dict[str, Any],
) -> dict[str, Any]:
    """Return the row of the ledger for a change of a customer as it is before."""
    return {
        "tenant_id": tx.tenant.id,
        "change_id": new_id(),
        "customer_id": customer.customer_id,
        "from_owner_id": customer.owner_id,
        "to_owner_id": change.to.person_id if change.to else None,
        "pool_id": change.pool_id or customer.pool_id,
        "cause": change.cause,
        "actor_id": tx.actor_id or None,
        "reason": change.reason,
        "rule_version": rules.of(customer.pool_id).version,
        "inputs": inputs,
        "create_time": tx.now,
        "batch_id": batch_id,
    }


def lose_owners(tx: Transaction, due: Select[str], loss: Loss, most: int) -> int:
    """Take up to `most` of the customers that `due` finds from their owners, into a pool; return how many.

    due: the ids of owned customers, their rows locked, with every condition under which they may be lost.
    """
    allocating = _allocating(tx, {loss.pool_id})
    # From where the row is locked: read again beside it, it would be as it was before somebody else's commit.
    lost = (
        due.limit(most)
        .with_only_columns(
            Customer.customer_id,
            Customer.owner_id.label("from_owner_id"),
            loss.reason.label("reason"),
            _neglect_in_sql().label("inputs"),
        )
        .cte("lost")
    )
    rows = tx.session.execute(
        update(Customer)
        .where(Customer.tenant_id == tx.tenant.id, Customer.customer_id == lost.c.customer_id)
        .values(
            owner_id=None,
            owner_department_path="",
            own_time=None,
            pool_id=loss.pool_id,
            pool_time=tx.now,
            allocate_due=bool(allocating),
            lock_expire_time=None,
            warn_due_at=None,
            reclaim_due_at=None,
            warned_time=None,
            rule_version=Rules(tx).of(loss.pool_id).version,
            version=Customer.version + 1,
        )
        .returning(Customer.customer_id, Customer.version, Customer.name, lost.c.from_owner_id)
        .add_cte(_record(tx, lost, loss, most))
        .execution_options(synchronize_session=False)
    ).all()
    if rows:
        _wake_allocation(tx, allocating)
    for row in rows:
        data = {
            "customerId": row.customer_id,
            "name": row.name,
            "fromOwnerId": row.from_owner_id,
            "toOwnerId": "",
            "poolId": loss.pool_id,
            "cause": loss.cause,
        }
        tx.emit(POOL_EVENTS[loss.cause], row.customer_id, row.version, data)
    OWNERSHIP_CHANGES.labels(loss.cause).inc(len(rows))
    return len(rows)


def _record(tx: Transaction, lost: CTE, loss: Loss, most: int) -> CTE:
    """Return what writes the rows of the ledger of what is lost."""
    placed = select(lost, func.row_number().over().label("place")).cte("placed")
    fresh = (
        func.unnest(literal([new_id() for _ in range(most)], ARRAY(RecordId)))
        .table_valued("change_id", with_ordinality="place")
        .render_derived()
    )
    values = {
        "tenant_id": literal(tx.tenant.id, RecordId),
        "change_id": fresh.c.change_id,
        "pool_id": literal(loss.pool_id, RecordId),
        "cause": literal(loss.cause.value),
        "actor_id": literal(tx.actor_id or None, RecordId),
        "rule_version": literal(loss.rule_version),
        "create_time": literal(tx.now),
        "batch_id": literal(new_id(), RecordId),
        **{column.name: placed.c[column.name] for column in lost.c},
    }
    return (
        insert(OwnershipChange)
        .from_select(list(values), select(*values.values()).where(fresh.c.place == placed.c.place))
        .cte("recorded")
    )


def lock_owner(tx: Transaction, person_id: str) -> None:
    """Lock the row under which somebody's customers are counted; before any customer is locked."""
    lock_owners(tx, [person_id])


def lock_owners(tx: Transaction, person_ids: Sequence[str]) -> None:
    """Lock the rows of several people, in the order of their ids."""
    wanted = sorted(set(person_ids))
    parameters = {"tenant_id": tx.tenant.id, "owner_ids": wanted}
    if len(tx.session.scalars(_LOCK_OWNERS, parameters).all()) == len(wanted):
        return
    rows = [{"tenant_id": tx.tenant.id, "owner_id": person_id} for person_id in wanted]
    tx.session.execute(pg_insert(OwnerCounter).values(rows).on_conflict_do_nothing())
    tx.session.scalars(_LOCK_OWNERS, parameters).all()


def lock_customers(tx: Transaction, customer_ids: Sequence[str]) -> Sequence[Customer]:
    """Lock customers in the order of their ids and return them as they are now."""
    parameters = {"tenant_id": tx.tenant.id, "customer_ids": list(customer_ids)}
    return tx.session.scalars(_LOCK_CUSTOMERS, parameters).all()


def _lock(tx: Transaction, person_ids: Sequence[str], customer_ids: Sequence[str]) -> Sequence[Customer]:
    """Lock who gains, then customers, and return those as they are now."""
    if person_ids:
        parameters = {"tenant_id": tx.tenant.id, "owner_ids": person_ids, "customer_ids": customer_ids}
        if locked := tx.session.scalars(_LOCK_BOTH, parameters).all():
            return locked
        lock_owners(tx, person_ids)
    return lock_customers(tx, customer_ids)


def check_room(
    tx: Transaction, person_id: str, department_path: str = "", *, region: str = "", level: str = ""
) -> None:
    """Raise OWNER_CAP_REACHED unless somebody may have one such customer more; locks the person's row (F28)."""
    lock_owner(tx, person_id)
    Caps(tx, Holder(person_id, department_path)).check(region, level)


def _rooms(
    tx: Transaction, changes: Iterable[Change], customer_ids: tuple[str, ...] = ()
) -> "dict[str, _Room]":
    """Return what each who gains may still take, to be asked once they are locked."""
    gains = {change.to.person_id: (change, change.to) for change in changes if change.to}
    return {person_id: _Room(tx, change, to, customer_ids) for person_id, (change, to) in gains.items()}


class _Room:
    """What somebody who gains may still take; asked only under the person's lock."""

    def __init__(self, tx: Transaction, change: Change, to: Owner, customer_ids: tuple[str, ...]) -> None:
        self._tx = tx
        self._cause = change.cause
        self._person_id = to.person_id
        self._customer_ids = customer_ids
        self._holder = Holder(to.person_id, to.department_path, customer_ids)
        self._claimed: dict[str, list[int]] = {}
        self._lost: dict[str, datetime] | None = None

    @cached_property
    def _caps(self) -> Caps:
        # Not before the lock: a limit that adjusts itself is set under it.
        return Caps(self._tx, self._holder)

    def take(self, customer: Customer) -> dict[str, Any]:
        """Count one customer more and return what was decided on; raises when it does not fit."""
        pool = self._limiting(customer)
        if pool:
            self._count(self._caps.winning(customer.region, customer.level), pool)
        inputs = self._caps.check(customer.region, customer.level)
        if self._cause == Cause.CLAIM and customer.pool_id:
            inputs |= self._claim(customer, pool) if pool else {"pool_admin": True}
        self._caps.take(customer)
        return inputs

    def _limiting(self, customer: Customer) -> Pool | None:
        """Return the pool whose limits hold for the claim of a customer; its administrators are free of them."""
        if self._cause != Cause.CLAIM or not customer.pool_id:
            return None
        pool = get_pool(self._tx, customer.pool_id)
        return None if self._person_id in pool.admin_ids else pool

    def _count(self, cap: Cap, pool: Pool) -> None:
        """Count the claims from a pool from the ledger, so that a return refunds nothing.

        With what is under the cap, where that is not known either: each statement costs a round trip.
        """
        if pool.pool_id in self._claimed:
            return
        if not pool.daily_claims and not pool.claim_requests:
            self._claimed[pool.pool_id] = [0, 0]
            return
        period = {
            "tenant_id": self._tx.tenant.id,
            "person_id": self._person_id,
            "pool_id": pool.pool_id,
            "since": period_start(self._tx.now, pool.claim_period_days),
        }
        if not cap.limit or self._caps.knows(cap):
            self._claimed[pool.pool_id] = list(self._tx.session.execute(_COUNT_CLAIMS, period).one())
            return
        counted = self._tx.session.execute(_COUNT_ALL, period | self._caps.counting(cap)).one()
        self._claimed[pool.pool_id] = list(counted[:2])
        self._caps.know(cap, counted[2])

    def _claim(self, customer: Customer, pool: Pool) -> dict[str, Any]:
        """Check what a pool asks of a claim."""
        if pool.cool_down_days:
            check_cool_down(self._lost_time(customer.customer_id), pool.cool_down_days, self._tx.now)
        if pool.new_data_days:
            check_new_data(customer.create_time, pool.new_data_days, self._tx.now)
        claimed = self._claimed[pool.pool_id]
        check_claims(
            claimed[0],
            pool.daily_claims,
            requests=claimed[1],
            request_limit=pool.claim_requests,
            now=self._tx.now,
            days=pool.claim_period_days,
        )
        claimed[0] += 1
        return {"claimed_today": claimed[0] - 1, "daily_claims": pool.daily_claims}

    def _lost_time(self, customer_id: str) -> datetime | None:
        """Return when the person lost a customer the last time: any earlier owner, not only the one before."""
        if self._lost is None:
            query = (
                select(OwnershipChange.customer_id, func.max(OwnershipChange.create_time))
                .where(
                    OwnershipChange.tenant_id == self._tx.tenant.id,
                    OwnershipChange.customer_id.in_(self._customer_ids),
                    OwnershipChange.from_owner_id == self._person_id,
                )
                .group_by(OwnershipChange.customer_id)
            )
            self._lost = {row[0]: row[1] for row in self._tx.session.execute(query)}
        return self._lost.get(customer_id)


# The times that a loss was decided on.
_NEGLECT = ("own_time", "last_evidence_time", "warned_time", "reclaim_due_at")


def _neglect(customer: Customer) -> dict[str, Any]:
    """Return what a loss was decided on."""
    times = {name: getattr(customer, name) for name in _NEGLECT}
    return {name: time.isoformat() for name, time in times.items() if time} | {
        "owner_department_path": customer.owner_department_path,
        "of_pool": customer.pool_id is not None,
    }


def _neglect_in_sql() -> ColumnElement[Any]:
    """Return the same as SQL."""
    parts: list[Any] = [part for name in _NEGLECT for part in (literal(name), getattr(Customer, name))]
    parts += [literal("owner_department_path"), Customer.owner_department_path]
    parts += [literal("of_pool"), Customer.pool_id.is_not(None)]
    return func.jsonb_strip_nulls(func.jsonb_build_object(*parts))


# What a change of owner sets of a customer.
_SET = (
    "state",
    "owner_id",
    "owner_department_path",
    "own_time",
    "pool_id",
    "pool_time",
    "allocate_due",
    "lock_expire_time",
    "version",
    "warn_due_at",
    "reclaim_due_at",
    "warned_time",
    "rule_version",
)
_KEY = ("tenant_id", "customer_id")
_CHANGE = (
    "tenant_id",
    "change_id",
    "customer_id",
    "from_owner_id",
    "to_owner_id",
    "pool_id",
    "cause",
    "actor_id",
    "reason",
    "rule_version",
    "inputs",
    "create_time",
    "batch_id",
)
_RECORD = inserting(OwnershipChange, _CHANGE, "changes").cte("recorded")
_SET_OWNERS = updating(Customer, (*_KEY, *_SET), _KEY, "customers").cte("owned")


def _apply(tx: Transaction, customer: Customer, change: Change, pool_id: str | None, rules: Rules) -> None:
    _become(
        customer,
        {
            "state": ENDS.get(change.cause, CustomerState.ACTIVE),
            "owner_id": change.to.person_id if change.to else None,
            "owner_department_path": change.to.department_path if change.to else "",
            "own_time": tx.now if change.to else None,
            "pool_id": pool_id,
            "pool_time": None if change.to else tx.now,
            "allocate_due": False,
            "lock_expire_time": None,
            "version": customer.version + 1,
        },
    )
    _become(customer, rules.due(customer))


def _become(customer: Customer, values: Mapping[str, Any]) -> None:
    """Let a row be what `_write` makes of it in the database: nothing that the session would have to write."""
    for name, value in values.items():
        set_committed_value(customer, name, value)


def _write(tx: Transaction, rows: Sequence[Mapping[str, Any]], customers: Sequence[Customer]) -> None:
    """Write the rows of the ledger, what the customers are now and what was told of it, in one statement.

    The database compares owner and ledger at its end: it lets an owner pass whom the ledger's last row names.
    """
    if not rows:
        return
    now = [{name: getattr(customer, name) for name in (*_KEY, *_SET)} for customer in customers]
    tx.post(_RECORD, _SET_OWNERS, parameters={"changes": as_rows(rows), "customers": as_rows(now)})


def _let_allocate(tx: Transaction, customers: Sequence[Customer], changes: Mapping[str, Change]) -> None:
    """Mark what came into a pool whose rules allocate, and wake the pool's sweep."""
    came = [
        customer
        for customer in customers
        if customer.owner_id is None
        and customer.pool_id
        and changes[customer.customer_id].cause not in (*ENDS, Cause.HAND_OVER, Cause.UNMERGE)
    ]
    if not came:
        return
    allocating = _allocating(tx, {customer.pool_id or "" for customer in came})
    for customer in came:
        _become(customer, {"allocate_due": customer.pool_id in allocating})
    _wake_allocation(tx, allocating)


def _allocating(tx: Transaction, pool_ids: set[str]) -> set[str]:
    """Return which of these pools have rules of allocation."""
    return set(
        tx.session.scalars(
            select(AllocationRule.pool_id).where(
                AllocationRule.tenant_id == tx.tenant.id, AllocationRule.pool_id.in_(pool_ids)
            )
        )
    )


def _wake_allocation(tx: Transaction, pool_ids: set[str]) -> None:
    for pool_id in sorted(pool_ids):
        tx.start_workflow(sweep_start(Sweep(tx.tenant, pool_id)))


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
    names = ("customer_id", "version", "name", "reservation_id", "owner_id", "pool_id")
    _tell_created(tx, {name: getattr(customer, name) for name in names})


def _tell_created(tx: Transaction, columns: Mapping[str, Any]) -> None:
    tx.emit(
        "customer_created",
        columns["customer_id"],
        columns["version"],
        {
            "customerId": columns["customer_id"],
            "name": columns["name"],
            "reservationId": columns["reservation_id"] or "",
            "ownerId": columns["owner_id"] or "",
            "poolId": columns["pool_id"] or "",
        },
    )
