"""Many rows in one statement that has one parameter, for what writes by the thousand.

The rows travel as JSON and become rows of the table inside PostgreSQL. A list of values would instead be a parameter
for each of them, which client and server spend more time on than on the rows.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    BindParameter,
    ColumnElement,
    Table,
    Text,
    Update,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.orm import DeclarativeBase, QueryableAttribute, Session
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import NullType, TypeEngine

# A table, or the class that is mapped to it.
Target = Table | type[DeclarativeBase]
# From so many rows on it is worth looking for what is the same in all of them.
MANY_ROWS = 20


def array_text(values: Iterable[object]) -> str:
    """Return numbers or ids as PostgreSQL reads an array; the driver takes a list apart to do the same."""
    return "{" + ",".join(map(str, values)) + "}"


def one_of(
    column: ColumnElement[Any] | QueryableAttribute[Any], values: Iterable[object]
) -> ColumnElement[bool]:
    """Return the condition that a column has one of these numbers or ids: one parameter, however many they are."""
    # Without a type of its own the parameter is an array to PostgreSQL, which plans with it; a text that is cast to one
    # would be read again for each row.
    given = bindparam(None, array_text(values), NullType())
    return column == any_(cast(given, ARRAY(column.type)))


def insert_rows(target: Target, rows: Sequence[Mapping[str, Any]]) -> Insert:
    """Return the statement that inserts rows in their order; every row has the same columns, at least one row.

    Values are what the columns take: bytes, dates, lists, what JSON holds. Column defaults of Python are not applied.
    What is the same in all of many rows travels once.
    """
    same = _same(rows) if len(rows) >= MANY_ROWS else {}
    own = [name for name in rows[0] if name not in same]
    if not same:
        return _insert(target, own, _given(target, rows, own))
    each = _rows(target, own, _given(target, rows, own))
    once = _rows(target, list(same), _given(target, [same], list(same)))
    columns = [*own, *same]
    source = select(*(each.c[name] for name in own), *(once.c[name] for name in same))
    return insert(_table(target)).from_select(
        columns, source.join_from(each, once, true()), include_defaults=False
    )


@contextmanager
def planned_anew(session: Session) -> Iterator[None]:
    """Have statements inside planned for the tables as they are now; not for inserts, whose triggers would be too.

    A plan that PostgreSQL keeps from when a table was nearly empty reads all of it for each batch, however much it
    holds by then: an import fills a new site's tables faster than they are analysed.
    """
    session.execute(_PLAN_ANEW)
    yield
    # After an error the transaction ends, and this with it.
    session.execute(_PLAN_AS_EVER)


_PLAN_ANEW = text("SET LOCAL plan_cache_mode = force_custom_plan")
_PLAN_AS_EVER = text("SET LOCAL plan_cache_mode = auto")


def _same(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the columns that have one value in all rows, at most all but one."""
    first, last = rows[0], rows[-1]
    same = {
        name: value
        for name, value in first.items()
        if last[name] == value and [row[name] for row in rows].count(value) == len(rows)
    }
    if len(same) == len(first):
        same.popitem()
    return same


def update_rows(target: Target, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Update:
    """Return the statement that sets, in the row that has its `keys`, the other columns of each of `rows`."""
    columns = list(rows[0])
    return _update(target, columns, keys, _given(target, rows, columns))


def inserting(target: Target, columns: Sequence[str], parameter: str, *, mostly_json: bool = False) -> Insert:
    """Return `insert_rows` for rows that a parameter of this name gives, see `as_rows`: made once, executed often.

    mostly_json: a column of JSON is the largest part of a row. It is read once then, the other columns twice.
    """
    return _insert(target, columns, bindparam(parameter, type_=Text()), binary=mostly_json)


def updating(target: Target, columns: Sequence[str], keys: Sequence[str], parameter: str) -> Update:
    """Return `update_rows` for rows that a parameter of this name gives, see `as_rows`: made once, executed often."""
    return _update(target, columns, keys, bindparam(parameter, type_=Text()))


def _given(target: Target, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> BindParameter[str]:
    """Return these columns of rows as a parameter."""
    table = _table(target)
    given = [{name: row[name] for name in names} for row in rows]
    for name in names:
        kind = table.c[name].type
        if isinstance(kind, ARRAY):
            # PostgreSQL reads an array's text in half the time of a list in JSON.
            text_of = _ARRAYS.get(type(kind.item_type), _array_of_any)
            for row in given:
                row[name] = None if row[name] is None else text_of(row[name])
    return bindparam(None, as_rows(given), Text())


def _array_of_texts(values: Sequence[str]) -> str:
    whole = "".join(values)
    if '"' in whole or "\\" in whole:
        values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(values) + '"}' if values else "{}"


def _array_of_any(values: Sequence[Any]) -> str:
    return _array_of_texts([_plain(value) for value in values])


# What makes an array's text of a list, by the type of its items.
_ARRAYS: Mapping[type[TypeEngine[Any]], Callable[[Sequence[Any]], str]] = {
    Text: _array_of_texts,
    BigInteger: array_text,
    Uuid: array_text,
}


def as_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as the value of a parameter."""
    return json.dumps(rows, default=_plain, ensure_ascii=False)


def _insert(
    target: Target, columns: Sequence[str], given: BindParameter[str], *, binary: bool = False
) -> Insert:
    source = _rows(target, columns, given, binary=binary)
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


def _rows(
    target: Target, columns: Sequence[str], given: BindParameter[str], *, binary: bool = False
) -> TableValuedAlias:
    """Return the rows as a table of these columns, typed as the target's."""
    table = _table(target)
    typed: ColumnElement[Any] = literal_column(f'NULL::"{table.schema}"."{table.name}"')
    populated = (
        func.jsonb_populate_recordset(typed, cast(given, JSONB))
        if binary
        else func.json_populate_recordset(typed, cast(given, JSON))
    )
    return populated.table_valued(*(table.c[name] for name in columns))


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
