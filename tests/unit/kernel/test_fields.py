"""Values of fields that tenants add: one canonical form, and what is shown is understood again."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import AppError
from services.kernel.fields import (
    FieldDefinition,
    FieldType,
    check_definition,
    display_value,
    parse_value,
    parse_values,
    typed_value,
)

NUMBER = FieldDefinition("n", "数", FieldType.NUMBER)
CHOICES = FieldDefinition("c", "选", FieldType.CHOICES, choices=("甲", "乙", "丙"))


@given(st.decimals(-(10**12), 10**12, places=6))
def test_equal_numbers_are_equal_texts(number: Decimal) -> None:
    """F241: unique compares texts."""
    stored = parse_value(NUMBER, f"{number:f}", "f")
    assert typed_value(NUMBER, stored) == number
    assert parse_value(NUMBER, stored, "f") == stored


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        (FieldType.TEXT, " 文本 "),
        (FieldType.DATE, "2026/3/1"),
        (FieldType.DATETIME, "2026-03-01 09:30"),
        (FieldType.BOOLEAN, "否"),
        (FieldType.PHONE, "021-58881234转801"),
        (FieldType.AMOUNT, "12.5"),
        (FieldType.EMAIL, "A@b.CN"),
    ],
)
def test_what_is_shown_is_understood_again(kind: FieldType, typed: str) -> None:
    """A file that was exported can be imported."""
    definition = FieldDefinition("k", "字段", kind)
    stored = parse_value(definition, typed, "f")
    assert stored is not None
    assert parse_value(definition, display_value(definition, stored), "f") == stored
    assert parse_value(definition, stored, "f") == stored


@pytest.mark.parametrize(
    ("kind", "typed", "reason"),
    [
        (FieldType.TEXT, "x" * 201, "TEXT_TOO_LONG"),
        (FieldType.NUMBER, "1e3", "FIELD_VALUE_INVALID"),
        (FieldType.DATE, "2026-02-30", "FIELD_VALUE_INVALID"),
        (FieldType.PHONE, "12345678901", "PHONE_PREFIX"),
        (FieldType.LINK, "javascript:alert(1)", "FIELD_VALUE_INVALID"),
        (FieldType.BOOLEAN, "maybe", "FIELD_VALUE_INVALID"),
        (FieldType.EMAIL, "a@b", "FIELD_VALUE_INVALID"),
    ],
)
def test_a_wrong_value_is_named(kind: FieldType, typed: str, reason: str) -> None:
    """F241: enforced on the server."""
    with pytest.raises(AppError) as refused:
        parse_value(FieldDefinition("k", "字段", kind), typed, "values.k")
    assert (refused.value.reason, refused.value.metadata["field"]) == (reason, "values.k")


def test_choices_keep_the_order_of_the_settings_and_edits_keep_the_rest() -> None:
    """F241: an edit names what it changes."""
    assert parse_value(CHOICES, "丙；甲、丙", "f") == ["甲", "丙"]
    stood = parse_values([NUMBER, CHOICES], {"n": "1", "c": ["乙"]}, "values")
    assert parse_values([NUMBER, CHOICES], {"n": ""}, "values", before=stood) == {"c": ["乙"]}
    with pytest.raises(AppError, match="FIELD_REQUIRED"):
        parse_values([replace(NUMBER, required=True)], {}, "values")
    with pytest.raises(AppError, match="FIELD_NOT_UNIQUE"):
        check_definition(replace(CHOICES, unique=True), "field")
