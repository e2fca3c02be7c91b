"""Reads and locks of orders; every one within the transaction's tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from typing import TypeVar

from sqlalchemy import ColumnElement, Text, cast, distinct, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import parse_id
from services.chassis.tokens import Caller
from services.kernel.visibility import visible
from services.orders.domain.numbers import begin_of
from services.orders.domain.settings import DEFAULT_HANDLE_WITHIN
from services.orders.domain.states import OrderState
from services.orders.store.tables import (
    Attachment,
    Contract,
    ContractCounter,
    NumberCounter,
    Order,
    OrderChange,
    OrderLine,
    Product,
    QuoteCounter,
    Settings,
    Staff,
)

# What counts a day's records.
Counter = TypeVar("Counter", NumberCounter, ContractCounter, QuoteCounter)


@dataclass(frozen=True)
class SummaryRow:
    """A row of a summary. key: state, owner, product or month. name: of the product. amount: CNY."""

    key: str
    name: str
    count: int
    amount: Decimal


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


@dataclass(frozen=True)
class OrderFilter:
    """Which orders are listed or counted (F49); what is left out asks nothing. Days: of their making, in China."""

    state: OrderState | None = None
    owner_id: str = ""
    customer_id: str = ""
    product_id: str = ""
    first_day: date | None = None
    last_day: date | None = None


def list_orders(
    tx: Transaction, caller: Caller, wanted: OrderFilter, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Order]:
    """Return orders that the caller sees, newest first, from behind `after` on."""
    query = (
        select(Order)
        .where(*_conditions(tx, caller, wanted))
        .order_by(Order.create_time.desc(), Order.id.desc())
        .limit(limit)
    )
    if after:
        query = query.where(tuple_(Order.create_time, Order.id) < after)
    return tx.session.scalars(query).all()


def _conditions(tx: Transaction, caller: Caller, wanted: OrderFilter) -> list[ColumnElement[bool]]:
    conditions = [
        Order.tenant_id == tx.tenant.id,
        visible(caller, Order.owner_id, Order.owner_department_path),
    ]
    if wanted.state:
        conditions.append(Order.state == wanted.state)
    if wanted.owner_id:
        conditions.append(Order.owner_id == wanted.owner_id)
    if wanted.customer_id:
        conditions.append(Order.customer_id == wanted.customer_id)
    if wanted.product_id:
        conditions.append(
            Order.id.in_(
                select(OrderLine.order_id).where(
                    OrderLine.tenant_id == tx.tenant.id, OrderLine.product_id == wanted.product_id
                )
            )
        )
    if wanted.first_day:
        conditions.append(Order.create_time >= begin_of(wanted.first_day))
    # Behind the last day that there is comes no other.
    if wanted.last_day and wanted.last_day < date.max:
        conditions.append(Order.create_time < begin_of(wanted.last_day + timedelta(days=1)))
    return conditions


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


def lock_counter(tx: Transaction, counters: type[Counter], day: date) -> Counter:
    """Lock and return a day's counter: one order, contract or quote of a tenant is made at a time."""
    tx.session.execute(
        insert(counters).values(tenant_id=tx.tenant.id, day=day, count=0).on_conflict_do_nothing()
    )
    return tx.session.scalars(
        select(counters).where(counters.tenant_id == tx.tenant.id, counters.day == day).with_for_update()
    ).one()


def handle_within(tx: Transaction) -> timedelta:
    """Return how long an order may wait for its owner."""
    settings = tx.session.get(Settings, tx.tenant.id)
    return settings.handle_within if settings else DEFAULT_HANDLE_WITHIN


def submit_without_papers(tx: Transaction) -> bool:
    """Return whether an order is submitted without lines, contract and payment proof too."""
    settings = tx.session.get(Settings, tx.tenant.id)
    return settings is not None and settings.submit_without_papers


def set_settings(tx: Transaction, value: timedelta, *, without_papers: bool) -> None:
    """Set how long orders may wait for their owners, and whether they need papers."""
    values = {"handle_within": value, "submit_without_papers": without_papers}
    tx.session.execute(
        insert(Settings)
        .values(tenant_id=tx.tenant.id, **values)
        .on_conflict_do_update(index_elements=[Settings.tenant_id], set_=values)
    )


def order_lines(tx: Transaction, order_id: str) -> Sequence[OrderLine]:
    """Return an order's lines in order."""
    return tx.session.scalars(
        select(OrderLine)
        .where(OrderLine.tenant_id == tx.tenant.id, OrderLine.order_id == order_id)
        .order_by(OrderLine.position)
    ).all()


def find_product(tx: Transaction, product_id: str) -> Product | None:
    """Return a product, None if there is none."""
    return tx.session.scalar(
        select(Product).where(Product.tenant_id == tx.tenant.id, Product.id == product_id)
    )


def find_contract_row(tx: Transaction, contract_id: str) -> Contract | None:
    """Return a contract whoever owns it, None if there is none."""
    return tx.session.scalar(
        select(Contract).where(Contract.tenant_id == tx.tenant.id, Contract.id == contract_id)
    )


def has_proof(tx: Transaction, order_id: str) -> bool:
    """Return whether a payment proof is attached to an order."""
    query = select(Attachment.id).where(
        Attachment.tenant_id == tx.tenant.id, Attachment.subject_id == order_id
    )
    return tx.session.scalar(query.limit(1)) is not None


def department_of(tx: Transaction, person_id: str) -> str:
    """Return in which department somebody is, as identity told last; "" when it told nothing."""
    person = tx.session.get(Staff, (tx.tenant.id, person_id))
    return person.department_path if person else ""


class Category(Enum):
    """By what orders are counted (F49)."""

    STATE = auto()
    OWNER = auto()
    PRODUCT = auto()
    MONTH = auto()


def summarize(
    tx: Transaction, caller: Caller, category: Category, wanted: OrderFilter, limit: int
) -> Sequence[SummaryRow]:
    """Count and sum the orders that the caller sees, largest sum first."""
    amount: ColumnElement[Decimal] = func.sum(Order.amount)
    name: ColumnElement[str] = literal("")
    count: ColumnElement[int] = func.count()
    match category:
        case Category.STATE:
            key: ColumnElement[str] = cast(Order.state, Text)
        case Category.OWNER:
            key = cast(Order.owner_id, Text)
        case Category.PRODUCT:
            key = cast(OrderLine.product_id, Text)
            amount, count = func.sum(OrderLine.amount), func.count(distinct(Order.id))
            name = func.max(OrderLine.product_name)
        case Category.MONTH:
            key = func.to_char(func.timezone("Asia/Shanghai", Order.create_time), "YYYY-MM")
    query = select(key, name, count, amount).select_from(Order)
    if category is Category.PRODUCT:
        query = query.join(OrderLine, OrderLine.order_id == Order.id)
        if wanted.product_id:
            query = query.where(OrderLine.product_id == wanted.product_id)
    rows = tx.session.execute(
        query.where(*_conditions(tx, caller, wanted)).group_by(key).order_by(amount.desc(), key).limit(limit)
    )
    return [SummaryRow(*row) for row in rows]
