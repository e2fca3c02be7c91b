"""Texts that people type: trimmed, of a known length, without what a database or a page cannot hold."""

import re

from services.chassis.errors import InvalidInput

# Control characters (Unicode's Cc) but for line breaks and tabs, which belong into a text of several lines.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


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
    # Most texts are printable through and through, which is known in a tenth of the time.
    if not trimmed.isprintable() and CONTROL.search(trimmed):
        raise InvalidInput(field, "TEXT_INVALID", "{field} 含有无效字符", "{field} holds control characters")
    return trimmed
