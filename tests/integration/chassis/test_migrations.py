"""Every service's migrations make exactly its tables, in every database."""

import pytest

from services.__main__ import load
from services.chassis.migrations.runner import drift, upgrade
from services.chassis.settings import SERVICES, Settings


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
