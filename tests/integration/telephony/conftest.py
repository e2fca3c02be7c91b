"""Telephony on a real database: its store, a PBX name of its own, staff at their extensions, what it told others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import delete, select

from services.chassis.clock import utc_now
from services.chassis.db import Event, Store
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.telephony.store import tables
from services.telephony.store.rows import Row, every
from services.telephony.usecases import staff


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Telephony's store over both databases."""
    store = Store(settings.database_urls, tables.metadata, utc_now)
    yield store
    store.close()


@dataclass
class Shop:
    """A tenant with lines on a PBX that no other test has."""

    store: Store
    tenant: Tenant
    pbx: str

    def line(self, kind: str, number: str) -> None:
        """Register a number."""
        with self.store.transaction(self.tenant) as tx:
            staff.add_line(tx, kind, number, pbx=self.pbx)

    def close(self) -> None:
        """Give the numbers back to the other tests, and leave nothing queued that their PBX would dial."""
        with self.store.transaction(self.tenant) as tx:
            for table in (tables.line, tables.pbx_order):
                tx.session.execute(delete(table).where(table.c.tenant_id == self.tenant.id))

    def agent(self, name: str, extension: str) -> str:
        """Seat a new person at an extension and return the id."""
        person_id = new_id()
        self.line(staff.EXTENSION, extension)
        with self.store.transaction(self.tenant) as tx:
            staff.sign_on(tx, person_id, name, extension)
        return person_id

    def rows(self, table: str) -> list[Row]:
        """Return the tenant's rows of a table."""
        found = tables.metadata.tables[f"telephony.{table}"]
        with self.store.across(self.tenant.database) as session:
            return every(session, select(found).where(found.c.tenant_id == self.tenant.id))

    def row(self, table: str) -> Row:
        """Return the tenant's only row of a table."""
        (found,) = self.rows(table)
        return found

    def events(self, event_type: str) -> list[Event]:
        """Return what the outbox holds of one type, in order."""
        bodies: list[dict[str, Any]] = [
            row["body"] for row in sorted(self.rows("outbox"), key=lambda row: row["id"])
        ]
        return [Event.from_json(body) for body in bodies if body["type"] == event_type]


@pytest.fixture
def shop(store: Store, tenant: Tenant) -> Iterator[Shop]:
    """A shop in each of the databases in turn."""
    shop = Shop(store, tenant, f"pbx-{new_id()[-12:]}")
    yield shop
    shop.close()


@pytest.fixture
def main_shop(store: Store, main_tenant: Tenant) -> Iterator[Shop]:
    """A shop in the home database."""
    shop = Shop(store, main_tenant, f"pbx-{new_id()[-12:]}")
    yield shop
    shop.close()
