"""Quotes: what is offered to whom, at which terms of delivery (F94, F95)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import delete, select, tuple_

from services.chassis.db import Transaction
from services.chassis.errors import Conflict, Forbidden, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.texts import parse_text
from services.kernel.visibility import visible
from services.orders.domain.lines import total
from services.orders.domain.numbers import business_day, quote_number
from services.orders.domain.quotes import (
    HOME_CURRENCY,
    Delivery,
    QuoteMode,
    amounts,
    parse_currency,
    parse_delivery,
    parse_valid_until,
)
from services.orders.store.queries import lock_counter
from services.orders.store.tables import Quote, QuoteCounter, QuoteLine
from services.orders.usecases.lines import LineInput, check_lines, priced_lines

LONGEST_TERMS = 4000


@dataclass(frozen=True)
class QuoteInput:
    """A quote as typed. delivery: ports and costs by name, "" where there is nothing. valid_until: 2026-03-01."""

    title: str
    customer_id: str
    customer_name: str
    mode: QuoteMode
    currency: str
    delivery: Mapping[str, str]
    valid_until: str
    terms: str
    lines: Sequence[LineInput]


def create_quote(tx: Transaction, caller: Caller, given: QuoteInput) -> Quote:
    """Write a quote of the caller's; raises InvalidInput naming the field."""
    values, rows = _values(tx, given), _rows(tx, given)
    day = business_day(tx.now)
    counter = lock_counter(tx, QuoteCounter, day)
    counter.count += 1
    quote = Quote(
        id=new_id(),
        tenant_id=tx.tenant.id,
        number=quote_number(day, counter.count),
        **values,
        goods=total([row.amount for row in rows]),
        owner_id=caller.person_id,
        owner_department_path=caller.department_path,
        create_time=tx.now,
        version=1,
    )
    tx.session.add(quote)
    tx.session.flush()
    _add(tx, quote, rows)
    return quote


def update_quote(tx: Transaction, caller: Caller, quote_id: str, version: int, given: QuoteInput) -> Quote:
    """Change an own quote.

    Raises InvalidInput naming the field, NotFound QUOTE_NOT_FOUND, Forbidden QUOTE_NOT_OWNED, Conflict QUOTE_CHANGED.
    """
    quote = find_quote(tx, caller, quote_id, lock=True)
    if quote.owner_id != caller.person_id:
        raise Forbidden("QUOTE_NOT_OWNED", "只有报价负责人可以操作", "Only the quote's owner may do this")
    if quote.version != version:
        raise Conflict("QUOTE_CHANGED", "报价已被他人修改，请刷新后重试", "The quote was changed meanwhile")
    values, rows = _values(tx, given), _rows(tx, given)
    for name, value in values.items():
        setattr(quote, name, value)
    quote.goods = total([row.amount for row in rows])
    quote.version += 1
    tx.session.execute(delete(QuoteLine).where(QuoteLine.quote_id == quote.id))
    _add(tx, quote, rows)
    return quote


def find_quote(tx: Transaction, caller: Caller, quote_id: str, *, lock: bool = False) -> Quote:
    """Return a quote that the caller sees, locked if asked; raises NotFound QUOTE_NOT_FOUND."""
    quote_id = parse_id(quote_id, "quote_id")
    query = select(Quote).where(
        Quote.tenant_id == tx.tenant.id,
        Quote.id == quote_id,
        visible(caller, Quote.owner_id, Quote.owner_department_path),
    )
    quote = tx.session.scalar(query.with_for_update() if lock else query)
    if quote is None:
        raise not_found("quote", "报价", quote_id)
    return quote


def list_quotes(
    tx: Transaction, caller: Caller, customer_id: str, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Quote]:
    """Return quotes that the caller sees, newest first, from behind `after` on; customer_id: "" for all."""
    query = select(Quote).where(
        Quote.tenant_id == tx.tenant.id, visible(caller, Quote.owner_id, Quote.owner_department_path)
    )
    if customer_id:
        query = query.where(Quote.customer_id == parse_id(customer_id, "customer_id"))
    if after:
        query = query.where(tuple_(Quote.create_time, Quote.id) < after)
    return tx.session.scalars(query.order_by(Quote.create_time.desc(), Quote.id.desc()).limit(limit)).all()


def quote_lines(tx: Transaction, quote_id: str) -> Sequence[QuoteLine]:
    """Return a quote's lines in order."""
    return tx.session.scalars(
        select(QuoteLine)
        .where(QuoteLine.tenant_id == tx.tenant.id, QuoteLine.quote_id == quote_id)
        .order_by(QuoteLine.position)
    ).all()


def delivery_of(quote: Quote) -> Delivery:
    """Return a quote's terms of delivery."""
    return Delivery(
        QuoteMode(quote.mode),
        quote.port_of_loading,
        quote.port_of_destination,
        quote.freight,
        quote.insurance,
    )


def quote_amounts(quote: Quote) -> dict[str, Decimal]:
    """Return what a quote comes to, by the fields that its mode has; its own is the last one."""
    return amounts(delivery_of(quote), quote.goods)


def _values(tx: Transaction, given: QuoteInput) -> dict[str, object]:
    delivery = parse_delivery(given.mode, given.delivery)
    return {
        "title": parse_text(given.title, "quote.title", 200),
        "customer_id": parse_id(given.customer_id, "quote.customer_id") if given.customer_id else None,
        "customer_name": parse_text(given.customer_name, "quote.customer_name", 200),
        "mode": delivery.mode,
        "currency": parse_currency(given.currency),
        "port_of_loading": delivery.port_of_loading,
        "port_of_destination": delivery.port_of_destination,
        "freight": delivery.freight,
        "insurance": delivery.insurance,
        "valid_until": parse_valid_until(given.valid_until, business_day(tx.now)),
        "terms": parse_text(given.terms, "quote.terms", LONGEST_TERMS, required=False),
    }


def _rows(tx: Transaction, given: QuoteInput) -> list[QuoteLine]:
    check_lines(given.lines, "quote.lines")
    home = parse_currency(given.currency) == HOME_CURRENCY
    return [
        QuoteLine(
            position=index,
            tenant_id=tx.tenant.id,
            product_id=line.product.id,
            product_code=line.product.code,
            product_name=line.product.name,
            unit=line.product.unit,
            quantity=line.quantity,
            unit_price=line.unit_price,
            amount=line.amount,
        )
        for index, line in enumerate(priced_lines(tx, given.lines, "quote.lines", home_prices=home))
    ]


def _add(tx: Transaction, quote: Quote, rows: Sequence[QuoteLine]) -> None:
    for row in rows:
        row.quote_id = quote.id
    tx.session.add_all(rows)
