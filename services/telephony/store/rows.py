"""Read rows as plain mappings from column name to value."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import TypedReturnsRows

Row = Mapping[str, Any]


def one(session: Session, statement: TypedReturnsRows[Any]) -> Row | None:
    """Return a statement's first row, or None."""
    found = session.execute(statement).mappings().first()
    return None if found is None else {str(name): value for name, value in found.items()}


def every(session: Session, statement: TypedReturnsRows[Any]) -> list[Row]:
    """Return a statement's rows."""
    found = session.execute(statement).mappings()
    return [{str(name): value for name, value in row.items()} for row in found]
