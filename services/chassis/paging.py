"""Keyset paging: an opaque token holds the last row's sort key, so a page stays right while rows change."""

import base64
import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from services.chassis.errors import InvalidInput
from services.chassis.ids import parse_id

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 200

T = TypeVar("T")


def page_size(asked: int) -> int:
    """Return the rows of a page: 0 means 50; raises InvalidInput PAGE_SIZE_OUT_OF_RANGE beyond 1 to 200."""
    if not 0 <= asked <= LARGEST_PAGE_SIZE:
        raise InvalidInput(
            "page_size",
            "PAGE_SIZE_OUT_OF_RANGE",
            "每页条数须在 1 到 {largest} 之间",
            "page_size must be 1 to {largest}",
            largest=LARGEST_PAGE_SIZE,
        )
    return asked or DEFAULT_PAGE_SIZE


def encode_cursor(time: datetime, row_id: str) -> str:
    """Return the token for the page after the row with this time and id."""
    return base64.urlsafe_b64encode(json.dumps([time.isoformat(), row_id]).encode()).decode()


def decode_cursor(token: str) -> tuple[datetime, str] | None:
    """Return a token's time and id, None for the first page; raises InvalidInput PAGE_TOKEN_INVALID."""
    if not token:
        return None
    try:
        time, row_id = json.loads(base64.urlsafe_b64decode(token.encode()))
        return datetime.fromisoformat(time), str(row_id)
    except (ValueError, TypeError):
        raise InvalidInput(
            "page_token", "PAGE_TOKEN_INVALID", "分页标识无效", "page_token is not valid"
        ) from None


def encode_key(order: str, value: object, row_id: str) -> str:
    """Return the token for the page behind the row with this value in an order of this name, and this id."""
    text = value.isoformat() if isinstance(value, date) else str(value)
    return base64.urlsafe_b64encode(json.dumps([order, text, row_id]).encode()).decode()


def decode_key(token: str, order: str, kind: type[Any]) -> tuple[Any, str] | None:
    """Return a token's value and id, None for the first page; raises InvalidInput PAGE_TOKEN_INVALID.

    kind: what the values of that order are: str, datetime, date or Decimal. A token of another order is not valid.
    """
    if not token:
        return None
    try:
        asked, text, row_id = json.loads(base64.urlsafe_b64decode(token.encode()))
        if asked == order:
            value = kind.fromisoformat(text) if issubclass(kind, date) else kind(text)
            return value, parse_id(str(row_id), "page_token")
    except (ValueError, TypeError, ArithmeticError, InvalidInput):
        pass
    raise InvalidInput("page_token", "PAGE_TOKEN_INVALID", "分页标识无效", "page_token is not valid")


def cut_page(rows: Sequence[T], size: int) -> tuple[Sequence[T], bool]:
    """Return a page out of `size + 1` fetched rows, and whether there is another one."""
    return rows[:size], len(rows) > size
