"""Numbers as people type them and as a PBX reports them."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput
from services.kernel.phones import (
    PhoneKind,
    PhoneNumber,
    display_number,
    kept,
    mask_number,
    match_number,
    parse_phone,
)


@pytest.mark.parametrize(
    ("typed", "e164", "extension", "kind"),
    [
        ("13800138000", "+8613800138000", "", PhoneKind.MOBILE),
        ("+86 138-0013-8000", "+8613800138000", "", PhoneKind.MOBILE),
        ("008613800138000", "+8613800138000", "", PhoneKind.MOBILE),
        ("8613800138000", "+8613800138000", "", PhoneKind.MOBILE),
        ("013800138000", "+8613800138000", "", PhoneKind.MOBILE),
        ("１３８００１３８０００", "+8613800138000", "", PhoneKind.MOBILE),
        ("021-62345678", "+862162345678", "", PhoneKind.LANDLINE),
        ("(021) 62345678 转 801", "+862162345678", "801", PhoneKind.LANDLINE),
        # As keys are written, so that they can be read again.
        ("+862162345678;ext=801", "+862162345678", "801", PhoneKind.LANDLINE),
        ("021-62345678-801", "+862162345678", "801", PhoneKind.LANDLINE),
        ("0571-87654321", "+8657187654321", "", PhoneKind.LANDLINE),
        ("400-812-3456", "4008123456", "", PhoneKind.SERVICE),
        ("95588", "95588", "", PhoneKind.SERVICE),
        ("+1 212 555 0123", "+12125550123", "", PhoneKind.FOREIGN),
    ],
)
def test_a_number_is_stored_in_one_form(typed: str, e164: str, extension: str, kind: PhoneKind) -> None:
    """O11."""
    number = parse_phone(typed, "phone")
    assert (number.e164, number.extension, number.kind) == (e164, extension, kind)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("1380013800", "PHONE_LENGTH"),
        ("138001380000", "PHONE_LENGTH"),
        ("021-623456", "PHONE_LENGTH"),
        ("021-623456789", "PHONE_LENGTH"),
        ("12345678901", "PHONE_PREFIX"),
        ("", "PHONE_LENGTH"),
        ("打给我", "PHONE_LENGTH"),
        ("+999123", "PHONE_INVALID"),
    ],
)
def test_a_wrong_number_is_refused_with_its_field(typed: str, reason: str) -> None:
    """F239, F240: one digit more or less, and prefixes that no carrier has, are refused on save."""
    with pytest.raises(InvalidInput) as refusal:
        parse_phone(typed, "phones[0].number")
    assert (refusal.value.reason, refusal.value.field) == (reason, "phones[0].number")


@pytest.mark.parametrize("said", ["anonymous", "", "<unknown>", "1001", "801", "restricted"])
def test_hidden_callers_and_extensions_match_nobody(said: str) -> None:
    assert match_number(said) == ""


def test_an_outside_line_prefix_is_dropped_only_where_it_must_be() -> None:
    assert match_number("913800138000") == "+8613800138000"
    assert match_number("95588") == "95588"


@given(st.text(max_size=30))
def test_whatever_a_pbx_says_is_no_error(said: str) -> None:
    assert isinstance(match_number(said), str)


@given(st.integers(min_value=0, max_value=99_999_999))
def test_a_mobile_survives_display_and_parsing(tail: int) -> None:
    number = f"+86138{tail:08d}"
    assert parse_phone(display_number(number), "phone").e164 == number
    assert number[6:-4] not in mask_number(number) or "****" in mask_number(number)


@given(
    st.integers(min_value=11_000_000_000, max_value=19_999_999_999)
    | st.from_regex(r"0[1-9][0-9]{9,10}", fullmatch=True).map(int)
)
def test_the_short_way_says_what_libphonenumber_says(number: int) -> None:
    """F239, F240: the patterns are taken out of its metadata."""
    kinds = {
        phonenumbers.PhoneNumberType.MOBILE: PhoneKind.MOBILE,
        phonenumbers.PhoneNumberType.FIXED_LINE: PhoneKind.LANDLINE,
    }
    said = phonenumbers.number_type(phonenumbers.parse(f"+86{number}"))
    if said in kinds:
        assert parse_phone(f"+86{number}", "phone") == PhoneNumber(f"+86{number}", "", kinds[said])
    elif said == phonenumbers.PhoneNumberType.UNKNOWN:
        with pytest.raises(InvalidInput):
            parse_phone(f"+86{number}", "phone")


@pytest.mark.parametrize(
    ("given", "before", "made"),
    [
        ("门卫 138****00", "门卫 13800138000", "门卫 13800138000"),
        ("门卫 138****01", "门卫 13800138000", "门卫 138****01"),
        ("", "门卫 13800138000", ""),
        (["新", "微信138****00"], ["微信13800138000"], ["新", "微信13800138000"]),
        (True, "13800138000", True),
        ("新", None, "新"),
    ],
)
def test_what_was_shown_without_its_numbers_stays(given: object, before: object, made: object) -> None:
    """F59: whoever saves a form loses nothing that the form did not show."""
    assert kept(given, before) == made
