"""The second wall between tenants: PostgreSQL itself shows a transaction the rows of its own tenant only.

Every query filters on the tenant; if one ever did not, it would find nothing of others. Each transaction says whose it
is in the setting `crm.tenant`, together with its BEGIN, so that it costs no round trip; without that it sees no row at
all. With the same words it asks whether the tenant is served here, see `places`. `*` stands for every tenant: for the
relay, sweeps and directories, by `Store.across` only, which reads and never writes. The role that services connect as
must neither be a superuser nor have BYPASSRLS: `binds` tells.
"""

from functools import lru_cache
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine, bindparam, event, text
from sqlalchemy.exc import OperationalError

from services.chassis import places
from services.chassis.driver import cursor_of

# Execution option of an engine, or of a connection, that says whose its transactions are.
TENANT_OPTION = "crm_tenant"
# Every tenant's rows.
EVERY_TENANT = "*"
# The same for a connection without an engine, as libpq's `options`.
EVERY_TENANT_OPTIONS = f"-c crm.tenant={EVERY_TENANT}"
POLICY = "tenant_wall"
# Connections that a pool holds at most, so many may be closed at once: when the database starts anew.
MOST_STALE = 100

# Tables with a tenant that have no wall yet, or one that their owner passes.
_BARE_TABLES = text(
    """
    SELECT c.relname FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT (
        c.relrowsecurity AND c.relforcerowsecurity
        AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = :policy)
    )
    """
).bindparams(bindparam("policy", POLICY))

# Each subquery is evaluated once for a statement, not for each row.
_WALL = """
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
    DROP POLICY IF EXISTS {policy} ON {table};
    CREATE POLICY {policy} ON {table} USING (
        tenant_id = (SELECT nullif(nullif(current_setting('crm.tenant', true), ''), '*')::uuid)
        OR (SELECT current_setting('crm.tenant', true) = '*')
    )
"""


def bare_tables(connection: Connection, schema: str) -> list[str]:
    """Return the tables of a schema that have a tenant but no wall."""
    return sorted(connection.scalars(_BARE_TABLES, {"schema": schema}))


def build(connection: Connection, schema: str) -> None:
    """Put every table of a schema that has a tenant behind the wall."""
    for table in bare_tables(connection, schema):
        connection.exec_driver_sql(_WALL.format(table=f'"{schema}"."{table}"', policy=POLICY))


def pass_through(connection: Connection) -> None:
    """Let the transaction at hand see every tenant's rows: for migrations."""
    connection.execute(text("SELECT set_config('crm.tenant', :every, true)"), {"every": EVERY_TENANT})


def binds(connection: Connection) -> bool:
    """Tell whether the wall binds the role that is connected."""
    row = connection.execute(
        text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    ).one()
    return not row[0]


@lru_cache(maxsize=1024)
def _beginning(tenant: str) -> tuple[bytes, bool]:
    """Return what begins a transaction of a tenant, of all or of none, and whether it asks for a tenant's place.

    What it names goes into the text: several statements in one round trip take no parameters.
    """
    if tenant == EVERY_TENANT:
        return f"BEGIN READ ONLY; SET LOCAL crm.tenant = '{EVERY_TENANT}'".encode(), False
    if not tenant:
        return b"BEGIN", False
    whose = str(UUID(tenant))
    question = places.QUESTION.format(tenant=whose)
    return f"BEGIN; SET LOCAL crm.tenant = '{whose}'; {question}".encode(), True


def say_whose(engine: Engine) -> None:
    """Let each transaction of an engine begin with the word whose it is, as TENANT_OPTION says.

    A pooled connection that the database closed meanwhile says so here, in the first answer of a transaction, when
    nothing is done yet: another one takes its place. So nobody has to ask a connection whether it lives before using
    it, which would cost each transaction a round trip. The engine's connections must be in psycopg's autocommit, so
    that it sends no BEGIN of its own.
    """

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        tenant = str(connection.get_execution_options().get(TENANT_OPTION, ""))
        statement, one_tenant = _beginning(tenant)
        for stale in range(MOST_STALE + 1):
            try:
                # Behind an invalid one this is the next of the pool, or a fresh one when none is left.
                # psycopg would prepare what comes often, and two statements cannot be.
                cursor = cursor_of(connection).execute(statement, prepare=False)
                connection.info[places.PLACE] = places.answer(cursor) if one_tenant else None
            except psycopg.OperationalError as error:
                unreachable = connection.invalidated
                if not unreachable:
                    connection.invalidate(error)
                if unreachable or stale == MOST_STALE:
                    raise OperationalError("BEGIN", None, error, connection_invalidated=True) from error
            else:
                return
