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
    BindParameter,
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
    return _insert(target, list(rows[0]), bindparam(None, as_rows(rows), Text()))


def update_rows(target: Target, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Update:
    """Return the statement that sets, in the row that has its `keys`, the other columns of each of `rows`."""
    return _update(target, list(rows[0]), keys, bindparam(None, as_rows(rows), Text()))


def inserting(target: Target, columns: Sequence[str], parameter: str) -> Insert:
    """Return `insert_rows` for rows that a parameter of this name gives, see `as_rows`: made once, executed often."""
    return _insert(target, columns, bindparam(parameter, type_=Text()))


def updating(target: Target, columns: Sequence[str], keys: Sequence[str], parameter: str) -> Update:
    """Return `update_rows` for rows that a parameter of this name gives, see `as_rows`: made once, executed often."""
    return _update(target, columns, keys, bindparam(parameter, type_=Text()))


def as_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as the value of a parameter."""
    return json.dumps(rows, default=_plain, ensure_ascii=False)


def _insert(target: Target, columns: Sequence[str], given: BindParameter[str]) -> Insert:
    source = _rows(target, columns, given)
    return insert(_table(target)).from_select(
        list(columns), select(*(source.c[name] for name in columns)), include_defaults=False
    )


def _update(target: Target, columns: Sequence[str], keys: Sequence[str], given: BindParameter[str]) -> Update:
    table, source = _table(target), _rows(target, columns, given)
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


def _rows(target: Target, columns: Sequence[str], given: BindParameter[str]) -> TableValuedAlias:
    """Return the rows as a table of these columns, typed as the target's."""
    table = _table(target)
    typed: ColumnElement[Any] = literal_column(f'NULL::"{table.schema}"."{table.name}"')
    return func.json_populate_recordset(typed, cast(given, JSON)).table_valued(
        *(table.c[name] for name in columns)
    )


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
