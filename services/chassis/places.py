"""Where a tenant's rows are, as each database says it: what lets a tenant move while it is at work.

A tenant travels with the name of its database, in tokens for a minute and in workflows for months. So each database
keeps a row for whom it does not serve: it names the database that does, or none while the rows leave and nothing may
change. The store reads it together with its BEGIN, in the same round trip and snapshot as what follows; no row, the
rule, means that the tenant is here. The row of a tenant that moved away stays for good.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Connection, text

from services.chassis.errors import Unavailable

# Key of a connection's `info` under which its transaction's answer stands.
PLACE = "crm_place"
# Read with a transaction's BEGIN, in one text that takes no parameters.
QUESTION = "SELECT database FROM tenancy.place WHERE tenant_id = '{tenant}'"

# offsets: what is added to numbers that the database gave, as they arrive; see `relocation`.
_BUILD = """
    CREATE SCHEMA IF NOT EXISTS tenancy;
    CREATE TABLE IF NOT EXISTS tenancy.place (
        tenant_id uuid PRIMARY KEY,
        database text,
        offsets jsonb NOT NULL DEFAULT '{}',
        update_time timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""


@dataclass(frozen=True)
class Place:
    """Says that a tenant is not served here. database: the one that serves it, None while its rows leave."""

    database: str | None


def answer(cursor: "psycopg.Cursor[Any]") -> Place | None:
    """Return what the question found, the last of the statements of a BEGIN."""
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    return Place(row[0]) if row else None


def build(connection: Connection) -> None:
    """Make the table of places in a database; safe to repeat, under the lock of migrations."""
    connection.execute(text(_BUILD))


def place_of(connection: Connection, tenant_id: str) -> Place | None:
    """Return what a database says of a tenant; None when it serves it, or never heard of it."""
    query = text("SELECT database FROM tenancy.place WHERE tenant_id = :tenant")
    row = connection.execute(query, {"tenant": tenant_id}).first()
    return Place(row.database) if row else None


def moved_from(connection: Connection) -> list[str]:
    """Return the databases that tenants of this one have moved to."""
    query = text("SELECT DISTINCT database FROM tenancy.place WHERE database IS NOT NULL ORDER BY database")
    return list(connection.scalars(query))


def tenant_is_moving() -> Unavailable:
    """Return what a write is told while the last rows of its tenant leave: some seconds."""
    return Unavailable(
        "TENANT_MOVING",
        "数据正在迁移到另一个数据库，请稍后重试",
        "Your data is moving to another database; try again in a moment",
    )
