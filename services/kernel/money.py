"""Amounts in CNY: exact decimals with two places, as text outside the process."""

import re
from decimal import Decimal

from services.chassis.errors import InvalidInput

# As typed: up to twelve digits before the point, at most two behind it.
AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2})?")


def parse_amount(text: str, field: str) -> Decimal:
    """Return an amount of at least 0 with two places; raises InvalidInput AMOUNT_INVALID naming `field`."""
    if not AMOUNT.fullmatch(text):
        raise InvalidInput(
            field,
            "AMOUNT_INVALID",
            "金额应为不小于0的数字，最多12位整数和两位小数",
            "An amount is a number from 0 on with at most twelve digits and two decimals",
        )
    return Decimal(text).quantize(Decimal("0.01"))


def format_amount(amount: Decimal) -> str:
    """Return an amount as text with two places."""
    return f"{amount:.2f}"
