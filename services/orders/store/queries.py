"""Reads and locks of orders; every one within the transaction's tenant."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import parse_id
from services.chassis.tokens import Caller
from services.kernel.visibility import visible
from services.orders.domain.settings import DEFAULT_HANDLE_WITHIN
from services.orders.domain.states import OrderState
from services.orders.store.tables import NumberCounter, Order, OrderChange, Settings


def find_order(tx: Transaction, caller: Caller | None, order_id: str, *, lock: bool = False) -> Order:
    """Return an order, locked if asked; raises NotFound ORDER_NOT_FOUND.

    caller: who must be able to see it; None for services and for what approvals decided.
    """
    order_id = parse_id(order_id, "order_id")
    query = select(Order).where(Order.tenant_id == tx.tenant.id, Order.id == order_id)
    if caller:
        query = query.where(visible(caller, Order.owner_id, Order.owner_department_path))
    order = tx.session.scalar(query.with_for_update() if lock else query)
    if order is None:
        raise not_found("order", "订单", order_id)
    return order


def list_orders(
    tx: Transaction, caller: Caller, state: OrderState | None, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Order]:
    """Return orders that the caller sees, newest first, from behind `after` on."""
    query = (
        select(Order)
        .where(Order.tenant_id == tx.tenant.id, visible(caller, Order.owner_id, Order.owner_department_path))
        .order_by(Order.create_time.desc(), Order.id.desc())
        .limit(limit)
    )
    if state:
        query = query.where(Order.state == state)
    if after:
        query = query.where(tuple_(Order.create_time, Order.id) < after)
    return tx.session.scalars(query).all()


def order_changes(tx: Transaction, order_id: str) -> Sequence[OrderChange]:
    """Return an order's log, newest first."""
    return tx.session.scalars(
        select(OrderChange)
        .where(OrderChange.tenant_id == tx.tenant.id, OrderChange.order_id == order_id)
        .order_by(OrderChange.id.desc())
    ).all()


def order_of(tx: Transaction, opportunity_id: str) -> Order | None:
    """Return the order that an opportunity made, None if there is none yet."""
    return tx.session.scalar(
        select(Order).where(Order.tenant_id == tx.tenant.id, Order.opportunity_id == opportunity_id)
    )


def lock_counter(tx: Transaction, day: date) -> NumberCounter:
    """Lock and return a day's counter: one order of a tenant is made at a time."""
    tx.session.execute(
        insert(NumberCounter).values(tenant_id=tx.tenant.id, day=day, count=0).on_conflict_do_nothing()
    )
    return tx.session.scalars(
        select(NumberCounter)
        .where(NumberCounter.tenant_id == tx.tenant.id, NumberCounter.day == day)
        .with_for_update()
    ).one()


def handle_within(tx: Transaction) -> timedelta:
    """Return how long an order may wait for its owner."""
    settings = tx.session.get(Settings, tx.tenant.id)
    return settings.handle_within if settings else DEFAULT_HANDLE_WITHIN


def set_handle_within(tx: Transaction, value: timedelta) -> None:
    """Set how long orders may wait for their owners."""
    tx.session.execute(
        insert(Settings)
        .values(tenant_id=tx.tenant.id, handle_within=value)
        .on_conflict_do_update(index_elements=[Settings.tenant_id], set_={"handle_within": value})
    )
