"""Large bases by COPY: past the wall between tenants and the ledger's trigger, with what is built behind the rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import Connection
from psycopg.sql import SQL, Identifier

# Memory for the building of one index; GIN needs much.
INDEX_MEMORY = "1GB"
# What is built when all rows are there, how it goes and how it comes: indexes that are no constraint's, references.
BUILT_BEHIND = """
SELECT format('DROP INDEX %%s', indexrelid::regclass), pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = format('customers.%%I', %(table)s::text)::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
UNION ALL
SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname),
    format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE contype = 'f' AND conrelid = format('customers.%%I', %(table)s::text)::regclass
"""
LEDGER_OFF = "ALTER TABLE customers.customer DISABLE TRIGGER new_owner_follows_ledger"
LEDGER_ON = "ALTER TABLE customers.customer ENABLE TRIGGER new_owner_follows_ledger"


@contextmanager
def seeding(connection: Connection, *tables: str) -> Iterator[None]:
    """Let the customers' table and these of their schema be filled by COPY; everything is as it was behind it.

    What the quick search goes by is filled with the customers.
    """
    every = ("customer", "customer_search", *tables)
    connection.execute(f"SET maintenance_work_mem = '{INDEX_MEMORY}'")
    _walls(connection, every, "NO FORCE")
    connection.execute(LEDGER_OFF)
    later = [row for table in every for row in connection.execute(BUILT_BEHIND, {"table": table})]
    for removed, _ in reversed(later):
        connection.execute(removed)
    yield
    for _, built in later:
        connection.execute(built)
    connection.execute(LEDGER_ON)
    _walls(connection, every, "FORCE")


def _walls(connection: Connection, tables: Sequence[str], force: str) -> None:
    for table in tables:
        connection.execute(
            SQL("ALTER TABLE {} {} ROW LEVEL SECURITY").format(Identifier("customers", table), SQL(force))
        )
