"""Every service's migrations make exactly its tables, in every database, and each lets the code before it go on."""

from collections.abc import Iterator
from dataclasses import dataclass

import alembic.command
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, pool, text

from deploy.local.stores import PrivateStores
from services.__main__ import load
from services.chassis import places, walls
from services.chassis.db import sqlalchemy_url
from services.chassis.migrations.runner import config, drift, upgrade
from services.chassis.settings import SERVICES, Settings

# What a migration forbids to the code before it; all are from before the first release, which nothing ran before.
FORBIDDEN_BEFORE_THE_FIRST_RELEASE = {
    "identity_0002 audit: trigger append_only",
    "leads_0002 lead: trigger owner_follows_ledger",
    "approvals_0003 decision: PRIMARY KEY (approval_id, step_index, seat)",
    "notify_0004 tenant: demands daily_time",
}
# New triggers that only copy, or do at once what was done one by one.
REFUSE_NOTHING = {
    "customers_0012 customer: trigger new_owner_follows_ledger",
    "customers_0011 customer_search: trigger pieces_go_in",
    "dedupe_0010 match_record: trigger grams_go_in",
    "customers_0009 customer: trigger search_finds_new",
    "customers_0009 customer: trigger search_finds_renamed",
}

COLUMNS = text(
    """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        a.attnotnull AND NOT (a.atthasdef OR a.attidentity <> '')
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    """
)
# What can refuse a row: constraints, unique indexes without their names, and triggers.
REFUSALS = text(
    """
    SELECT c.relname, pg_get_constraintdef(k.oid) FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema
    UNION SELECT c.relname, regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \\S+ ON', 'INDEX ON')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND i.indisunique AND NOT i.indisprimary
    UNION SELECT c.relname, 'trigger ' || t.tgname FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND NOT t.tgisinternal
    """
)


@dataclass(frozen=True)
class Schema:
    """What the code of one moment relies on. columns: type and whether a value must be given, by table and name."""

    columns: dict[tuple[str, str], tuple[str, bool]]
    refusals: set[tuple[str, str]]

    @staticmethod
    def of(connection: Connection, name: str) -> "Schema":
        """Read it from the catalogue."""
        rows = connection.execute(COLUMNS, {"schema": name})
        columns = {(table, column): (kind, demanded) for table, column, kind, demanded in rows}
        return Schema(columns, {(row[0], row[1]) for row in connection.execute(REFUSALS, {"schema": name})})

    def broken_by(self, after: "Schema") -> Iterator[str]:
        """Yield what the code for this schema cannot do any more with the next."""
        known = {table for table, _ in self.columns}
        for (table, column), (kind, _) in self.columns.items():
            found = after.columns.get((table, column))
            if found is None:
                yield f"{table}: lacks {column}"
            elif found[0] != kind:
                yield f"{table}: {column} is {found[0]}, was {kind}"
        for (table, column), (_, demanded) in after.columns.items():
            before = self.columns.get((table, column))
            if table in known and demanded and not (before and before[1]):
                yield f"{table}: demands {column}"
        for table, refusal in after.refusals - self.refusals:
            if table in known:
                yield f"{table}: {refusal}"


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("database", ["main", "south"])
def test_the_migrations_make_the_tables(settings: Settings, name: str, database: str) -> None:
    (service,) = load([name])
    assert drift(name, service.metadata(), settings.database_urls[database]) == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_second_migration_changes_nothing(settings: Settings, name: str) -> None:
    (service,) = load([name])
    upgrade(name, service.metadata(), settings.database_urls["main"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_row_belongs_to_a_tenant(name: str) -> None:
    """Decision 8. Identity's directory is the one table of tenants; an inbox row is an event's, whose id is unique.

    How far a PBX was followed concerns all whose lines it has.
    """
    (service,) = load([name])
    without = [
        table.name
        for table in service.metadata().sorted_tables
        if "tenant_id" not in table.columns and table.name not in ("inbox", "tenant", "pbx_progress")
    ]
    assert without == []


def test_each_migration_lets_the_code_before_it_read_and_write(stores: PrivateStores) -> None:
    """Old and new code run together during a roll-out, on the new schema; the job that makes it goes first.

    What was there stays as it was, what is new may be left out, and nothing new refuses a row that was fine.
    """
    engine = create_engine(sqlalchemy_url(stores.create_database("steps")), poolclass=pool.NullPool)
    broken = set()
    for service in load():
        with engine.begin() as connection:
            connection.execute(text(f'CREATE SCHEMA "{service.name}"'))
            places.build(connection)
            walls.pass_through(connection)
            chain = config(service.name, service.metadata(), connection)
            schema = None
            for step in reversed(list(ScriptDirectory.from_config(chain).walk_revisions())):
                alembic.command.upgrade(chain, step.revision)
                after = Schema.of(connection, service.name)
                if schema:
                    broken |= {f"{step.revision} {what}" for what in schema.broken_by(after)}
                schema = after
    assert broken == FORBIDDEN_BEFORE_THE_FIRST_RELEASE | REFUSE_NOTHING
