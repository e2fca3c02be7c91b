"""Unified social credit codes: real ones pass, every single slip is found."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput
from services.kernel.credit_codes import ALPHABET, LENGTH, check_character, parse_credit_code

# The printed example of the standard's field, and codes that companies print on their own pages.
PUBLISHED = ["91350100M000100Y43", "91440300708461136T", "91110000802100433B"]

bodies = st.text(alphabet=ALPHABET, min_size=LENGTH - 1, max_size=LENGTH - 1)


@pytest.mark.parametrize("code", PUBLISHED)
def test_published_codes_pass(code: str) -> None:
    """F38."""
    assert parse_credit_code(f" {code.lower()} ", "code") == code


@settings(max_examples=100)
@given(bodies, st.data())
def test_a_wrong_or_exchanged_character_is_found(body: str, data: st.DataObject) -> None:
    """Every weight is invertible modulo 31, and no two neighbours have the same."""
    code = body + check_character(body)
    assert parse_credit_code(code, "code") == code
    place = data.draw(st.integers(0, LENGTH - 1))
    other = data.draw(st.sampled_from(ALPHABET.replace(code[place], "")))
    slips = [code[:place] + other + code[place + 1 :]]
    if place < LENGTH - 2 and code[place] != code[place + 1]:
        slips.append(code[:place] + code[place + 1] + code[place] + code[place + 2 :])
    for slip in slips:
        with pytest.raises(InvalidInput, match="CREDIT_CODE_CHECK"):
            parse_credit_code(slip, "code")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "LENGTH"),
        ("91350100M000100Y4", "LENGTH"),
        ("91350100M00010OY43", "CHARACTER"),
        ("统" * 18, "CHARACTER"),
    ],
)
def test_what_cannot_be_a_code_is_named(code: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"CREDIT_CODE_{reason}"):
        parse_credit_code(code, "code")
