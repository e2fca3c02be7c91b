"""The steps of a pool's sweep, each a batch in its own transaction: apply the rule, warn, take back.

A sweep is over customers that somebody owns and that belong to one pool, or (pool_id "") to none. Rows that somebody
works on at the moment are skipped and come with the next sweep.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Update,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.orm import InstrumentedAttribute

from services.chassis.db import Transaction
from services.customers.domain.customers import Cause, CustomerState
from services.customers.metrics import WARNED
from services.customers.store.ledger import Loss, lose_owners
from services.customers.store.rule_sql import NEVER, falls_at, reason
from services.customers.store.rules import Rules
from services.customers.store.tables import Customer, Pool, Settings
from services.customers.usecases.evidence import has_arrived
from services.kernel.ownership import SHORTEST_WARNING, reclaim_after_warning

IN_INDEX_ORDER = text("SET LOCAL enable_sort = off")
# Customers in one transaction, unless said otherwise.
BATCH = 500


@dataclass(frozen=True)
class Outlook:
    """What a sweep would find. work: a step may find something now. next_time: when the next customer is to be warned
    or taken back, or a lock ends; None when nothing is known."""

    work: bool
    next_time: datetime | None


def apply_rule(tx: Transaction, pool_id: str, limit: int) -> int:
    """Set anew when customers are due whose times came from an older rule (F19); return how many.

    A warning stands where nothing changes for whom it warned: the time is the same, or it comes so soon that one a day
    before an earlier time would be too late. What was said is then what happens. Any other time is warned of anew.
    """
    applied = Rules(tx).of(pool_id or None)
    old = _due(tx, pool_id, Customer.rule_version, Customer.rule_version < applied.version)
    falls, said = falls_at(applied.rule), Customer.reclaim_due_at
    stands = and_(
        Customer.warned_time.is_not(None),
        or_(falls == said, and_(falls < said, said <= reclaim_after_warning(tx.now, tx.now))),
    )
    return len(
        tx.session.scalars(
            _change(tx, old, limit)
            .values(
                warn_due_at=case(
                    (stands, NEVER),
                    else_=falls - literal(timedelta(days=applied.rule.warn_days), INTERVAL),
                ),
                reclaim_due_at=case((stands, said), else_=falls),
                warned_time=case((stands, Customer.warned_time), else_=NEVER),
                rule_version=applied.version,
            )
            .returning(Customer.customer_id)
        ).all()
    )


def warn(tx: Transaction, pool_id: str, limit: int) -> int:
    """Warn the owners of customers that will fall back; return how many.

    A warning that comes late moves the reclaim, so that a day always lies between them.
    """
    due = _due(tx, pool_id, Customer.warn_due_at, Customer.warn_due_at <= tx.now, _unlocked(tx))
    rows = tx.session.execute(
        _change(tx, due, limit)
        .values(
            warned_time=tx.now,
            warn_due_at=None,
            reclaim_due_at=func.greatest(Customer.reclaim_due_at, reclaim_after_warning(tx.now, tx.now)),
            version=Customer.version + 1,
        )
        .returning(
            Customer.customer_id, Customer.version, Customer.name, Customer.owner_id, Customer.reclaim_due_at
        )
    ).all()
    for row in rows:
        tx.emit(
            "reclaim_warned",
            row.customer_id,
            row.version,
            {
                "customerId": row.customer_id,
                "name": row.name,
                "ownerId": row.owner_id,
                "reclaimDueTime": row.reclaim_due_at.isoformat(),
            },
        )
    WARNED.inc(len(rows))
    return len(rows)


def reclaim(tx: Transaction, pool_id: str, limit: int) -> int:
    """Take back what was neglected although its owner was warned at least a day before (F16, F17); return how many."""
    applied = Rules(tx).of(pool_id or None)
    due = _due(
        tx,
        pool_id,
        Customer.reclaim_due_at,
        Customer.reclaim_due_at <= tx.now,
        Customer.warned_time <= tx.now - SHORTEST_WARNING,
        _unlocked(tx),
    )
    loss = Loss(Cause.RECLAIM, applied.pool_id, reason(applied.rule), applied.version)
    return lose_owners(tx, due, loss, limit)


def reclaim_what_is_known(tx: Transaction, pool_id: str, limit: int) -> int | None:
    """Take back as `reclaim` does; None while evidence of other services may not have arrived: then nothing is."""
    if not _is_any_due(tx, pool_id):
        return 0
    if not has_arrived(tx):
        return None
    return reclaim(tx, pool_id, limit)


def look(tx: Transaction, pool_id: str) -> Outlook:
    """Return by one statement whether there is work, and what comes next: most sweeps find nothing.

    Each part is the first row of an index, however many customers there are.
    """
    version = select(Pool.rule_version).where(Pool.tenant_id == tx.tenant.id, Pool.pool_id == pool_id)
    if not pool_id:
        version = select(Settings.rule_version).where(Settings.tenant_id == tx.tenant.id)

    def first(column: InstrumentedAttribute[Any], *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
        query = select(column).where(*_swept(tx, pool_id), column.is_not(None), *conditions)
        return query.order_by(Customer.pool_id, column).limit(1).scalar_subquery()

    row = tx.session.execute(
        select(
            exists().where(*_swept(tx, pool_id), Customer.allocate_due),
            func.coalesce(
                first(Customer.rule_version, Customer.owner_id.is_not(None)) < version.scalar_subquery(),
                False,
            ),
            *(
                first(column, column <= tx.now, _unlocked(tx)).is_not(None)
                for column in (Customer.warn_due_at, Customer.reclaim_due_at)
            ),
            func.least(
                *(
                    first(column, column > tx.now)
                    for column in (Customer.warn_due_at, Customer.reclaim_due_at, Customer.lock_expire_time)
                )
            ),
        )
    ).one()
    *work, next_time = row
    return Outlook(any(work), next_time)


def _is_any_due(tx: Transaction, pool_id: str) -> bool:
    return bool(
        tx.session.scalar(
            select(
                exists().where(
                    *_swept(tx, pool_id),
                    Customer.reclaim_due_at <= tx.now,
                    Customer.warned_time <= tx.now - SHORTEST_WARNING,
                    _unlocked(tx),
                )
            )
        )
    )


def _swept(tx: Transaction, pool_id: str) -> list[ColumnElement[bool]]:
    return [
        Customer.tenant_id == tx.tenant.id,
        Customer.pool_id == pool_id if pool_id else Customer.pool_id.is_(None),
    ]


def _unlocked(tx: Transaction) -> ColumnElement[bool]:
    return or_(Customer.lock_expire_time.is_(None), Customer.lock_expire_time <= tx.now)


def _due(
    tx: Transaction, pool_id: str, order: InstrumentedAttribute[Any], *due: ColumnElement[bool]
) -> Select[str]:
    """Select and lock what is due. Every exemption stands in the predicate under which a row is locked (F14).

    Taken in the order of an index on `order`, so that a large backlog is not sorted for each batch. Nobody is waited
    for, so the order of the locks is of no account.
    """
    # Of what fell due since statistics were made the planner believes that it is a row or two, whichever index it takes
    # and sorts then.
    tx.session.execute(IN_INDEX_ORDER)
    return (
        select(Customer.customer_id)
        .where(
            *_swept(tx, pool_id),
            Customer.owner_id.is_not(None),
            Customer.state == CustomerState.ACTIVE,
            *due,
        )
        # With the pool, so that the index serves the order of those that belong to none as well.
        .order_by(Customer.pool_id, order)
        .with_for_update(skip_locked=True)
    )


def _change(tx: Transaction, due: Select[str], limit: int) -> Update:
    """Return the update of a batch of what is due, without values."""
    found = due.limit(limit).cte("due")
    return (
        update(Customer)
        .where(Customer.tenant_id == tx.tenant.id, Customer.customer_id == found.c.customer_id)
        .execution_options(synchronize_session=False)
    )
