"""Lines of orders and quotes: products picked and priced (F83, F95)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.ids import parse_id
from services.kernel.money import parse_amount
from services.orders.domain.lines import MOST_LINES, line_amount, parse_quantity, total
from services.orders.store.queries import find_product
from services.orders.store.tables import Product


@dataclass(frozen=True)
class LineInput:
    """A line as typed. unit_price: "" for the product's."""

    product_id: str
    quantity: str
    unit_price: str


@dataclass(frozen=True)
class PricedLine:
    """A line with its product and what it costs."""

    product: Product
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal


def check_lines(lines: Sequence[LineInput], field: str) -> None:
    """Raise InvalidInput LINES_OUT_OF_RANGE unless there are 1 to 200 lines; field: of the request."""
    if not 1 <= len(lines) <= MOST_LINES:
        raise InvalidInput(
            field, "LINES_OUT_OF_RANGE", "应有 1 到 {most} 行", "There are 1 to {most} lines", most=MOST_LINES
        )


def priced_lines(
    tx: Transaction, lines: Sequence[LineInput], field: str, *, home_prices: bool = True
) -> list[PricedLine]:
    """Return lines with their products and amounts, in order.

    field: of the lines in the request. home_prices: whether a product's own price, in CNY, may stand in for one that
    is not typed. Raises InvalidInput naming the field: PRODUCT_UNKNOWN, QUANTITY_INVALID, AMOUNT_INVALID,
    AMOUNT_TOO_LARGE, PRICE_MISSING.
    """
    return [
        _priced(tx, line, f"{field}[{index}]", home_prices=home_prices) for index, line in enumerate(lines)
    ]


def _priced(tx: Transaction, line: LineInput, field: str, *, home_prices: bool) -> PricedLine:
    product = find_product(tx, parse_id(line.product_id, f"{field}.product_id"))
    if product is None or not product.active:
        raise InvalidInput(
            f"{field}.product_id",
            "PRODUCT_UNKNOWN",
            "没有该产品，或已停售",
            "There is no such product, or it is sold no more",
        )
    if not line.unit_price and not home_prices:
        raise InvalidInput(
            f"{field}.unit_price",
            "PRICE_MISSING",
            "外币报价须填写单价",
            "A quote in a foreign currency needs its prices",
        )
    quantity = parse_quantity(line.quantity, f"{field}.quantity")
    price = parse_amount(line.unit_price, f"{field}.unit_price") if line.unit_price else product.price
    amount = line_amount(quantity, price)
    total([amount])
    return PricedLine(product, quantity, price, amount)
