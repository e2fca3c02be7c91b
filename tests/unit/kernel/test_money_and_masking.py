"""Amounts and masked names."""

from decimal import Decimal

import pytest

from services.chassis.errors import InvalidInput
from services.kernel.masking import mask_name
from services.kernel.money import format_amount, parse_amount


@pytest.mark.parametrize(("text", "amount"), [("10000", "10000.00"), ("9999.99", "9999.99"), ("0.5", "0.50")])
def test_an_amount_keeps_its_value(text: str, amount: str) -> None:
    assert format_amount(parse_amount(text, "amount")) == amount
    assert parse_amount(text, "amount") == Decimal(text)


@pytest.mark.parametrize("text", ["", "-1", "1e5", "NaN", "1.234", "１２３", "1,000"])
def test_what_is_no_amount_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_amount(text, "opportunity.amount")
    assert refusal.value.field == "opportunity.amount"


@pytest.mark.parametrize(("name", "masked"), [("王小明", "王**"), ("张三", "张*"), ("李", "李*"), ("", "*")])
def test_a_masked_name_keeps_its_first_character(name: str, masked: str) -> None:
    assert mask_name(name) == masked
