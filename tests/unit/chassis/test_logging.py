"""Numbers are masked before a line is written, wherever they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.logging import mask_numbers


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("13800138000", "138****00"),
        ("电话13800138000请回拨", "电话138****00请回拨"),
        ("+8613800138000 rang", "+86****00 rang"),
        ("4 calls in 2026", "4 calls in 2026"),
        ("01a2019a-6579-7f2d-93b9-6e20b3692cad", "01a2019a-6579-7f2d-93b9-6e20b3692cad"),
    ],
)
def test_a_number_is_masked_and_an_id_is_not(text: str, masked: str) -> None:
    assert mask_numbers(text) == masked


@given(st.text(alphabet="张三请回拨，。 "), st.integers(0, 99_999_999), st.text(alphabet="谢谢。 "))
def test_no_mobile_survives_in_chinese_text(before: str, tail: int, after: str) -> None:
    mobile = f"138{tail:08d}"
    assert mobile not in mask_numbers(before + mobile + after)
