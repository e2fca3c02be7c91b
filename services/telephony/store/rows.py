"""Read rows as plain mappings from column name to value."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import TypedReturnsRows

Row = Mapping[str, Any]


def one(asked: Session | Connection, statement: TypedReturnsRows[Any], **parameters: Any) -> Row | None:
    """Return a statement's first row, or None."""
    result = asked.execute(statement, parameters)
    names, found = result.keys(), result.first()
    return None if found is None else dict(zip(names, found, strict=True))


def every(asked: Session | Connection, statement: TypedReturnsRows[Any], **parameters: Any) -> list[Row]:
    """Return a statement's rows."""
    result = asked.execute(statement, parameters)
    names = list(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result]
