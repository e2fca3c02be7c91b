"""Forget what no repeat can ask for any more: answered requests and handled events.

A client repeats a request within minutes, RabbitMQ an event within the last retry's delay. A dead letter that is put
back after months is safe: it was never handled, so it has no inbox row.
"""

from typing import Final

import psycopg
from psycopg import sql

# Days that rows are kept.
REQUEST_DAYS: Final = 7
INBOX_DAYS: Final = 30
# Rows deleted in one statement, so that none holds its locks for long.
BATCH: Final = 10_000


def prune(connection: psycopg.Connection, service: str) -> int:
    """Delete a service's rows past their time in one database; return how many. The connection commits by itself."""
    deleted = 0
    for table, days in (("request", REQUEST_DAYS), ("inbox", INBOX_DAYS)):
        query = sql.SQL(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM {table} WHERE create_time < now() - make_interval(days => %s) LIMIT %s))"
        ).format(table=sql.Identifier(service, table))
        while (rows := connection.execute(query, (days, BATCH)).rowcount) > 0:
            deleted += rows
            if rows < BATCH:
                break
    return deleted
