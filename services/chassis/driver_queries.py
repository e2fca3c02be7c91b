"""Queries that somebody waits for at every key: compiled once and handed to the driver as they are.

SQLAlchemy looks a statement up, converts each parameter and describes each column, which takes longer than the database
takes for a good index. A lost connection is told of as SQLAlchemy tells it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import Connection, Select
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from services.chassis.driver import cursor_of
from services.chassis.limits import FixedDialect

if TYPE_CHECKING:
    from services.chassis.db import Transaction


class DriverQuery:
    """A statement that answers rows; its parameters are given by name at each call.

    As the driver takes them: a list by `array_text`.
    """

    def __init__(
        self,
        statement: Select[*tuple[Any, ...]]
        | ReturningInsert[*tuple[Any, ...]]
        | ReturningUpdate[*tuple[Any, ...]],
    ) -> None:
        compiled = statement.compile(dialect=FixedDialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's own
        # Our own text and nothing else, which never changes: the driver keeps a prepared statement by it.
        self._text = str(compiled).encode()
        self._constants = compiled.params

    def rows(self, tx: "Transaction", parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """Return all rows, columns in the statement's order; what the transaction has not written yet goes before.

        Raises as `rows_by`.
        """
        tx.flush()
        return self.rows_by(tx.connection, parameters)

    def rows_by(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """Return all rows over a connection; raises SQLAlchemy's OperationalError when the database is away."""
        cursor = cursor_of(connection)
        try:
            return cursor.execute(self._text, {**self._constants, **parameters}).fetchall()
        except psycopg.OperationalError as error:
            lost = bool(cursor.connection.closed)
            if lost:
                connection.invalidate(error)
            raise OperationalError(self._text.decode(), None, error, connection_invalidated=lost) from error
