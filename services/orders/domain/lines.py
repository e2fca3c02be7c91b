"""The lines of an order: exact decimals, and a total that is their sum (F83)."""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from services.chassis.errors import InvalidInput

MOST_LINES = 200
CENT = Decimal("0.01")
# Up to nine digits before the point, three behind it.
QUANTITY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")
# What an amount of two places may hold at most.
LARGEST_AMOUNT = Decimal("999999999999.99")


def parse_quantity(text: str, field: str) -> Decimal:
    """Return a quantity above 0 with at most three places; raises InvalidInput QUANTITY_INVALID."""
    if not QUANTITY.fullmatch(text) or Decimal(text) <= 0:
        raise InvalidInput(
            field,
            "QUANTITY_INVALID",
            "数量应大于0，最多三位小数",
            "A quantity is above 0 with at most three decimals",
        )
    return Decimal(text)


def line_amount(quantity: Decimal, unit_price: Decimal) -> Decimal:
    """Return what a line costs, to the cent, half a cent up."""
    return (quantity * unit_price).quantize(CENT, ROUND_HALF_UP)


def total(amounts: Sequence[Decimal]) -> Decimal:
    """Return the sum of lines; raises InvalidInput AMOUNT_TOO_LARGE beyond twelve digits."""
    result = sum(amounts, Decimal("0.00"))
    if result > LARGEST_AMOUNT:
        raise InvalidInput("lines", "AMOUNT_TOO_LARGE", "订单金额过大", "The order's amount is too large")
    return result
