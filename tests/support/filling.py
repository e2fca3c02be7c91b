"""Rows for any table, from the types of its columns: where a plan matters and not what the rows say."""

from sqlalchemy import Connection, Table, text

# By the type's name; `i` is the row's number, `salt` sets one filling apart from another.
_VALUES = {
    "uuid": "md5(:salt || i)::uuid",
    "text": ":salt || i",
    "int2": "i",
    "int4": "i",
    "int8": "i",
    "numeric": "i",
    "float8": "i",
    "bool": "false",
    "date": "current_date + i",
    "timestamptz": "now() + i * interval '1 minute'",
    "jsonb": "'{}'",
    "bytea": "decode(md5(:salt || i), 'hex')",
}
_COLUMNS = text(
    """
    SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = CAST(:table AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated = '' AND a.attidentity = ''
    """
)
_CHECKS = text(
    "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:table AS regclass) AND contype = 'c'"
)


def unchecked(connection: Connection, table: Table) -> None:
    """Let the transaction at hand write any rows: past the wall, references and triggers; it must be rolled back."""
    connection.execute(text("SET LOCAL session_replication_role = replica; SET LOCAL crm.tenant = '*'"))
    for check in connection.scalars(_CHECKS, {"table": _name(table)}):
        connection.exec_driver_sql(f'ALTER TABLE {_name(table)} DROP CONSTRAINT "{check}"')


def fill(connection: Connection, table: Table, tenant_id: str, salt: str, count: int) -> None:
    """Add rows of a tenant that differ in every column that can; see `unchecked`."""
    columns = {row.attname: row.typname for row in connection.execute(_COLUMNS, {"table": _name(table)})}
    values = [
        ":tenant" if name == "tenant_id" else "'{}'" if kind.startswith("_") else _VALUES[kind]
        for name, kind in columns.items()
    ]
    connection.execute(
        text(
            f"INSERT INTO {_name(table)} ({', '.join(columns)})"  # noqa: S608 - names of our own tables
            f" SELECT {', '.join(values)} FROM generate_series(1, :count) i"
        ),
        {"tenant": tenant_id, "salt": salt, "count": count},
    )


def _name(table: Table) -> str:
    return f'"{table.schema}"."{table.name}"'
