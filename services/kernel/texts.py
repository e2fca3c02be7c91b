"""Texts that people type: trimmed, of a known length, without what a database or a page cannot hold."""

import unicodedata

from services.chassis.errors import InvalidInput

# Control characters that belong into a text of several lines.
LINE_BREAKS = "\n\r\t"


def parse_text(text: str, field: str, longest: int, *, required: bool = True) -> str:
    """Return a text without blanks around it.

    Raises InvalidInput naming `field`: TEXT_EMPTY when it is required and blank, TEXT_TOO_LONG beyond `longest`
    characters, TEXT_INVALID for control characters other than line breaks and tabs.
    """
    trimmed = text.strip()
    if required and not trimmed:
        raise InvalidInput(field, "TEXT_EMPTY", "{field} 不能为空", "{field} must not be empty")
    if len(trimmed) > longest:
        raise InvalidInput(
            field,
            "TEXT_TOO_LONG",
            "{field} 最多{longest}个字",
            "{field} has at most {longest} characters",
            longest=longest,
        )
    if any(unicodedata.category(char) == "Cc" and char not in LINE_BREAKS for char in trimmed):
        raise InvalidInput(field, "TEXT_INVALID", "{field} 含有无效字符", "{field} holds control characters")
    return trimmed
