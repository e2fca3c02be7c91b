"""Texts as people type them."""

import pytest

from services.chassis.errors import InvalidInput
from services.kernel.texts import parse_text


def test_blanks_around_a_text_are_dropped_and_line_breaks_in_it_stay() -> None:
    assert parse_text("  第一行\n第二行\u3000 ", "text", 20) == "第一行\n第二行"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "TEXT_EMPTY"),
        (" \u3000\n", "TEXT_EMPTY"),
        ("一二三四", "TEXT_TOO_LONG"),
        ("a\x00b", "TEXT_INVALID"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_field(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as refused:
        parse_text(text, "name", 3)
    assert refused.value.field == "name"


def test_an_optional_text_may_be_blank() -> None:
    assert parse_text(" ", "note", 3, required=False) == ""
