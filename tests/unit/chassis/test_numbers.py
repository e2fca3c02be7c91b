"""Numbers in what people typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.numbers import NUMBER, hide_numbers, without_numbers

# What people type around a number.
AROUND = st.text(alphabet="张三路转-() .，0123456789:/", max_size=12)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("13800138000", "138****00"),
        ("微信 +86 138-0013-8000（妻）", "微信 +86 ****00（妻）"),
        ("电话(021) 5888 1234转801", "电话(021****34转801"),
        ("１３８００１３８０００", "１３８****００"),
        ("上海路1288号2幢301", "上海路1288号2幢301"),
        ("2026-11-30 14:30 再联系 13800138000", "2026-11-30 14:30 再联系 138****00"),
        ("2026/3/5 13800138000", "2026/3/5 138****00"),
        ("2026-11-3013800138000", "202****00"),
        ("2026-13-30, 12026.1.2", "202****30, 120****.2"),
        ("SO20261130-0001 共 1200000.00 元", "SO20261130-0001 共 1200000.00 元"),
        ("SO13800138000-0001", "SO138****01"),
        ("2026-11-30T14:30:05.123456+00:00", "2026-11-30T14:30:05.123456+00:00"),
        ("见 12345678-1234-4123-8123-123456789012", "见 12345678-1234-4123-8123-123456789012"),
        ("税号 91310115MA1K35J12X，电话 13800138000", "税号 91310115MA1K35J12X，电话 138****00"),
        ("", ""),
    ],
)
def test_what_could_be_a_number_in_a_text_is_hidden(text: str, hidden: str) -> None:
    """F59: however somebody groups it; short numbers are houses and rooms, and days are days."""
    assert hide_numbers(text) == hidden


@given(AROUND, st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True), AROUND)
def test_no_mobile_survives_among_other_digits(before: str, mobile: str, after: str) -> None:
    """F59: wherever it stands, and hiding twice is hiding once."""
    hidden = hide_numbers(f"{before}{mobile}{after}")
    assert mobile not in hidden
    assert hide_numbers(hidden) == hidden


@given(AROUND)
def test_a_text_without_a_number_is_left_alone(text: str) -> None:
    """Houses, rooms and days stay readable."""
    assert NUMBER.search(text) or hide_numbers(text) == text


def test_events_hide_what_people_typed_and_nothing_else() -> None:
    """F59: texts by their names, however deep; numbers that the product made stay."""
    data = {"name": "张三13800138000", "count": "13800138000", "callers": [{"customerName": "13800138000"}]}
    hidden = {"name": "张三138****00", "count": "13800138000", "callers": [{"customerName": "138****00"}]}
    assert without_numbers(data) == hidden
