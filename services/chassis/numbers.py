"""Telephone numbers within texts that people typed: found however they are grouped, and hidden.

A number in a field of its own is masked by who knows what it is; this is for what may hold one as it may hold anything.
"""

import re
from collections.abc import Mapping
from typing import Any

# Patterns below mean the same to Python and to PostgreSQL.
DIGIT = "[0-9０-９]"
# What people group them by.
GROUPED = r"[\s()（）.\-–—－]{0,2}"
# What could be a subscriber's number within a text: as many digits, in groups or not.
A_NUMBER = rf"{DIGIT}(?:{GROUPED}{DIGIT}){{6,}}"
# As many digits, and none: an amount, an id, the number of a paper (two letters, day, count), a company's credit code
# (GB 32100), a day or a time as the product or people write them.
_MONTH, _DAY = "(?:0?[1-9]|1[0-2])", "(?:0?[1-9]|[12][0-9]|3[01])"
_DAYS = "|".join(rf"(?:19|20)[0-9][0-9]{sign}{_MONTH}{sign}{_DAY}" for sign in ("-", r"\.", "/"))
NO_NUMBER = "|".join(
    (
        r"(?<![0-9０-９.])[0-9]{1,10}\.[0-9][0-9](?![0-9０-９.])",
        r"(?<![0-9A-Za-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z])",
        r"(?<![0-9A-Za-z])[A-Z]{2}20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])-[0-9]{4,5}(?![0-9])",
        r"(?<![0-9A-Za-z])(?:9[0-9]|5[0-9]|1[12])[0-9]{6}[0-9A-Z]{10}(?![0-9A-Za-z])",
        rf"(?<!{DIGIT})(?:{_DAYS})(?:T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?:\.[0-9]{{1,6}})?)?(?!{DIGIT})",
    )
)
NUMBER = re.compile(A_NUMBER)
_NUMBER_OR_NONE = re.compile(rf"(?P<none>{NO_NUMBER})|{A_NUMBER}")

# What stands under these names in an event is typed by people.
TYPED_NAMES = frozenset(
    (
        "address",
        "comment",
        "company",
        "contactName",
        "customerName",
        "name",
        "note",
        "reason",
        "shipTo",
        "text",
        "title",
        "value",
    )
)


def hide_numbers(text: str) -> str:
    """Return a text with the middle of everything hidden that could be a telephone number, however grouped."""
    if not NUMBER.search(text):
        return text
    return _NUMBER_OR_NONE.sub(lambda found: found["none"] or f"{found[0][:3]}****{found[0][-2:]}", text)


def without_numbers(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's data with the numbers hidden in what people typed, however deep it stands."""
    return {
        name: hide_numbers(value) if name in TYPED_NAMES and isinstance(value, str) else _below(value)
        for name, value in data.items()
    }


def _below(value: Any) -> Any:
    if isinstance(value, dict):
        return without_numbers(value)
    return [_below(item) for item in value] if isinstance(value, list) else value
