"""The rules of an order's lines, of files, and of a contract's life."""

import io
import zipfile
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput, RuleViolation
from services.orders.domain.contracts import (
    TRANSITIONS,
    ContractAction,
    ContractState,
    next_state,
    owner_actions,
    parse_term,
)
from services.orders.domain.files import LARGEST_FILE, content_type
from services.orders.domain.lines import line_amount, parse_quantity, total

CENTS = st.integers(0, 10**9).map(lambda cents: Decimal(cents) / 100)
THOUSANDTHS = st.integers(1, 10**6).map(lambda n: Decimal(n) / 1000)


@given(st.lists(st.tuples(THOUSANDTHS, CENTS), min_size=1, max_size=20))
def test_the_total_is_the_sum_of_the_lines_to_the_cent(lines: list[tuple[Decimal, Decimal]]) -> None:
    """F83: no float anywhere."""
    amounts = [line_amount(quantity, price) for quantity, price in lines]
    assert total(amounts) == sum(amounts)
    for amount, (quantity, price) in zip(amounts, lines, strict=True):
        assert abs(amount - quantity * price) <= Decimal("0.005")
        assert amount == amount.quantize(Decimal("0.01"))


def test_half_a_cent_is_rounded_up_and_more_than_twelve_digits_are_refused() -> None:
    assert line_amount(Decimal("0.5"), Decimal("0.01")) == Decimal("0.01")
    assert line_amount(Decimal("0.499"), Decimal("0.01")) == Decimal("0.00")
    with pytest.raises(InvalidInput, match="AMOUNT_TOO_LARGE"):
        total([Decimal("999999999999.99"), Decimal("0.01")])


@pytest.mark.parametrize("text", ["", "0", "0.000", "-1", "1.0001", "1e3", "NaN", "1234567890"])
def test_a_quantity_is_above_zero_with_at_most_three_places(text: str) -> None:
    with pytest.raises(InvalidInput, match="QUANTITY_INVALID"):
        parse_quantity(text, "lines[0].quantity")
    assert parse_quantity("1.250", "lines[0].quantity") == Decimal("1.25")


def office(folder: str) -> bytes:
    """Return an office file as small as can be."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr(f"{folder}/x.xml", "")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("回单.PDF", b"%PDF-1.7", "application/pdf"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("a.jpeg", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("a.xlsx", office("xl"), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.docx", office("word"), "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)
def test_a_file_is_known_by_its_content(name: str, content: bytes, found: str) -> None:
    """F51."""
    assert content_type(name, content) == found


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"", "FILE_EMPTY"),
        ("a.pdf", b"%PDF-" + bytes(LARGEST_FILE), "FILE_TOO_LARGE"),
        ("a.pdf", b"MZ", "FILE_TYPE_REFUSED"),
        ("a.exe", b"%PDF-1.7", "FILE_TYPE_REFUSED"),
        ("pdf", b"<script>", "FILE_TYPE_REFUSED"),
        ("a.xlsx", office("word"), "FILE_TYPE_REFUSED"),
        ("a.png", b"\xff\xd8\xff\xe0", "FILE_TYPE_REFUSED"),
    ],
)
def test_any_other_file_is_refused(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        content_type(name, content)


@given(st.sampled_from(ContractState), st.lists(st.sampled_from(ContractAction), max_size=20))
def test_no_sequence_of_actions_leaves_a_contracts_table(
    state: ContractState, actions: list[ContractAction]
) -> None:
    """F45, F180: in force only by way of its reviewers; what is over stays over."""
    for action in actions:
        after = TRANSITIONS[action].get(state)
        if after is None:
            with pytest.raises(RuleViolation, match="CONTRACT_STATE"):
                next_state(state, action)
            continue
        assert next_state(state, action) is after
        assert after is not ContractState.EFFECTIVE or state is ContractState.SUBMITTED
        assert state not in (ContractState.EXPIRED, ContractState.TERMINATED)
        state = after
    for offered in owner_actions(state):
        next_state(state, offered)


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("2026-02-30", "2026-03-01", "start_date"),
        ("2026-03-01", "01.03.2026", "end_date"),
        ("2026-03-02", "2026-03-01", "end_date"),
        ("", "2026-03-01", "start_date"),
    ],
)
def test_a_term_is_two_days_in_order(start: str, end: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_term(start, end)
    assert refused.value.field == field
