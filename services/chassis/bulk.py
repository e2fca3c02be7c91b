"""Many rows in one statement that has one parameter, for what writes by the thousand.

The rows travel as JSON and become rows of the table inside PostgreSQL. A list of values would instead be a parameter
for each of them, which client and server spend more time on than on the rows.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.selectable import TableValuedAlias

# A table, or the class that is mapped to it.
Target = Table | type[DeclarativeBase]


def insert_rows(target: Target, rows: Sequence[Mapping[str, Any]]) -> Insert:
    """Return the statement that inserts rows in their order; every row has the same columns, at least one row.

    Values are what the columns take: bytes, dates, lists, what JSON holds. Column defaults of Python are not applied.
    """
    columns = list(rows[0])
    source = _rows(target, columns, rows)
    return insert(_table(target)).from_select(
        columns, select(*(source.c[name] for name in columns)), include_defaults=False
    )


def update_rows(target: Target, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Update:
    """Return the statement that sets, in the row that has its `keys`, the other columns of each of `rows`."""
    table, columns = _table(target), list(rows[0])
    source = _rows(target, columns, rows)
    return (
        update(table)
        .where(*(table.c[name] == source.c[name] for name in keys))
        .values({name: source.c[name] for name in columns if name not in keys})
    )


def _table(target: Target) -> Table:
    table = target if isinstance(target, Table) else target.__table__
    if not isinstance(table, Table):
        raise TypeError("rows are written to tables")
    return table


def _rows(target: Target, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> TableValuedAlias:
    """Return the rows as a table of these columns, typed as the target's."""
    table = _table(target)
    given = cast(bindparam(None, json.dumps(rows, default=_plain, ensure_ascii=False), Text()), JSON)
    typed: ColumnElement[Any] = literal_column(f'NULL::"{table.schema}"."{table.name}"')
    return func.json_populate_recordset(typed, given).table_valued(*(table.c[name] for name in columns))


def _plain(value: object) -> str:
    """Return a value as PostgreSQL reads it from text."""
    match value:
        case date():
            return value.isoformat()
        case bytes():
            return f"\\x{value.hex()}"
        case Decimal():
            return str(value)
    raise TypeError(f"{type(value).__name__} is not written in bulk")
