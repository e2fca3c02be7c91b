"""What the filter language refuses, and where it says the fault is."""

from typing import Any

import pytest

from services.chassis.errors import InvalidInput
from services.kernel.filters import DEEPEST, MOST_CONDITIONS, Filter, Kind

KINDS = {"name": Kind.TEXT, "level": Kind.CHOICE, "amount": Kind.NUMBER, "day": Kind.DATE, "time": Kind.TIME}
GOOD = {"field": "name", "op": "contains", "value": "上海"}


def nested(levels: int) -> dict[str, Any]:
    """Return a filter of some levels."""
    document: dict[str, Any] = GOOD
    for _ in range(levels):
        document = {"all": [document]}
    return document


@pytest.mark.parametrize(
    ("document", "path", "reason"),
    [
        ("{", "filter", "FILTER_INVALID"),
        ("[1]", "filter", "FILTER_INVALID"),
        ("[" * 60_000, "filter", "FILTER_TOO_LARGE"),
        ("[" * 40_000, "filter", "FILTER_INVALID"),
        ({"all": [GOOD], "any": [GOOD]}, "filter", "FILTER_INVALID"),
        ({"all": []}, "filter.all", "FILTER_INVALID"),
        ({"all": [GOOD, {"any": [3]}]}, "filter.all[1].any[0]", "FILTER_INVALID"),
        ({"field": "name", "op": "eq", "value": "a", "more": 1}, "filter", "FILTER_INVALID"),
        ({"field": "owner", "op": "eq", "value": "a"}, "filter.field", "FILTER_FIELD_UNKNOWN"),
        ({"field": ["name"], "op": "eq", "value": "a"}, "filter.field", "FILTER_FIELD_UNKNOWN"),
        ({"field": "level", "op": "contains", "value": "a"}, "filter.op", "FILTER_OPERATOR_UNKNOWN"),
        ({"field": "name", "op": "eq"}, "filter.value", "FILTER_VALUE_INVALID"),
        ({"field": "name", "op": "eq", "value": "\0"}, "filter.value", "FILTER_VALUE_INVALID"),
        ({"field": "name", "op": "eq", "value": "\ud800"}, "filter.value", "FILTER_VALUE_INVALID"),
        ({"field": "name", "op": "in", "value": ["a", 1]}, "filter.value[1]", "FILTER_VALUE_INVALID"),
        ({"field": "name", "op": "in", "value": []}, "filter.value", "FILTER_VALUE_INVALID"),
        ({"field": "amount", "op": "between", "value": [1]}, "filter.value", "FILTER_VALUE_INVALID"),
        ({"field": "amount", "op": "gt", "value": True}, "filter.value", "FILTER_VALUE_INVALID"),
        ({"field": "amount", "op": "gt", "value": float("nan")}, "filter.value", "FILTER_VALUE_INVALID"),
        ('{"field": "amount", "op": "gt", "value": 1e999}', "filter.value", "FILTER_VALUE_INVALID"),
        ({"field": "day", "op": "gt", "value": "2026-02-30"}, "filter.value", "FILTER_VALUE_INVALID"),
        (
            {"field": "time", "op": "gt", "value": "2026-03-01T09:30:00"},
            "filter.value",
            "FILTER_VALUE_INVALID",
        ),
        ({"field": "time", "op": "within_last_days", "value": 0}, "filter.value", "FILTER_VALUE_INVALID"),
        ({"any": [GOOD] * (MOST_CONDITIONS + 1)}, "filter.any", "FILTER_TOO_LARGE"),
        (nested(DEEPEST + 1), "filter" + ".all[0]" * DEEPEST, "FILTER_TOO_LARGE"),
    ],
)
def test_a_fault_is_named_with_its_path(document: Any, path: str, reason: str) -> None:
    """F70: who writes a filter is told which part is wrong."""
    with pytest.raises(InvalidInput) as refused:
        Filter.parse(document, KINDS)
    assert (refused.value.field, refused.value.reason) == (path, reason)


def test_an_empty_filter_lets_everything_pass() -> None:
    """A list without a filter is the whole list."""
    assert Filter.parse("", KINDS) == Filter.parse({}, KINDS)
    assert Filter.parse(nested(DEEPEST), KINDS).fields == {"name"}
