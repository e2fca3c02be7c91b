"""Run alembic for one service's schema, each with its own version table and its own versions folder."""

from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine, pool, text

from services.chassis import places, walls
from services.chassis.db import sqlalchemy_url
from services.chassis.logging import get_logger

log = get_logger(__name__)

HERE = Path(__file__).resolve().parent
SERVICES = HERE.parents[1]


def config(service: str, metadata: MetaData, connection: Connection) -> alembic.config.Config:
    """Return alembic's configuration for a service on an open connection."""
    result = alembic.config.Config()
    result.set_main_option("script_location", str(HERE))
    result.set_main_option("path_separator", "os")
    result.set_main_option("version_locations", str(SERVICES / service / "store" / "migrations"))
    result.attributes |= {"connection": connection, "metadata": metadata, "schema": service}
    return result


def upgrade(service: str, metadata: MetaData, url: str) -> None:
    """Bring a service's schema in one database to the newest version, under a lock."""
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('migrate'))"))
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{service}"'))
        places.build(connection)
        walls.pass_through(connection)
        alembic.command.upgrade(config(service, metadata, connection), "head")
        walls.build(connection, service)
        if not walls.binds(connection):
            log.warning("this role passes the wall between tenants: superuser or BYPASSRLS", service=service)


def revise(service: str, metadata: MetaData, url: str, message: str) -> None:
    """Write a new migration with the difference between the tables and a database at the newest version."""
    upgrade(service, metadata, url)
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    versions = SERVICES / service / "store" / "migrations"
    number = len(list(versions.glob(f"{service}_[0-9]*.py"))) + 1
    with engine.begin() as connection:
        alembic.command.revision(
            config(service, metadata, connection),
            message,
            autogenerate=True,
            rev_id=f"{service}_{number:04d}",
        )


def drift(service: str, metadata: MetaData, url: str) -> list[object]:
    """Return what differs between a migrated database and the tables; empty when nothing does."""
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options(service, metadata))
        return list(compare_metadata(context, metadata))


def options(service: str, metadata: MetaData) -> dict[str, Any]:
    """Return how alembic looks at a service: its own schema and version table, nothing else."""
    return {
        "target_metadata": metadata,
        "version_table": "alembic_version",
        "version_table_schema": service,
        "include_schemas": True,
        "include_name": lambda name, kind, _: name == service if kind == "schema" else True,
        "include_object": lambda _, name, kind, __, ___: not (kind == "table" and name == "alembic_version"),
        "compare_type": True,
        "compare_server_default": False,
    }
