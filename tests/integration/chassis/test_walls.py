"""PostgreSQL's own wall between tenants: a query that forgets its filter finds nothing of others."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from services.chassis import walls
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.ids import new_id
from services.chassis.settings import SERVICES, Settings
from services.chassis.tenancy import Tenant
from services.identity.store.tables import Base, Department


def department(tenant: Tenant) -> dict[str, object]:
    """Return a root department's row."""
    department_id = new_id()
    return {"id": department_id, "tenant_id": tenant.id, "name": "云海", "path": f"{department_id}/"}


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Identity's store; any service's would do."""
    store = Store(settings.database_urls, Base.metadata, utc_now)
    yield store
    store.close()


@pytest.fixture
def neighbours(store: Store, main_tenant: Tenant) -> tuple[Tenant, Tenant]:
    """Two tenants of one database with a department each."""
    other = Tenant(new_id(), "main")
    for tenant in (main_tenant, other):
        with store.transaction(tenant) as tx:
            tx.session.execute(insert(Department).values(**department(tenant)))
    return main_tenant, other


def test_every_table_with_a_tenant_is_behind_the_wall_in_every_schema(
    settings: Settings, store: Store
) -> None:
    """Also those that a later migration adds: `migrate` walls what it finds bare."""
    for database in settings.database_urls:
        with store.engine(database).connect() as connection:
            assert walls.binds(connection)
            for service in SERVICES:
                assert walls.bare_tables(connection, service) == []
                walled = connection.scalar(
                    text("SELECT count(*) FROM pg_policies WHERE schemaname = :schema"), {"schema": service}
                )
                assert walled is not None
                assert walled >= 3


def test_a_query_without_a_filter_sees_the_own_rows_only(
    store: Store, neighbours: tuple[Tenant, Tenant]
) -> None:
    mine, others = neighbours
    with store.transaction(mine) as tx:
        assert set(tx.session.scalars(select(Department.tenant_id))) == {mine.id}
        assert tx.session.execute(update(Department).values(name="改")).rowcount == 1  # type: ignore[attr-defined]  # a DML result has it
    with store.transaction(mine) as tx:
        assert tx.session.execute(delete(Department)).rowcount == 1  # type: ignore[attr-defined]  # a DML result has it
    with store.transaction(others) as tx:
        assert tx.session.scalars(select(Department.name)).all() == ["云海"]
        # A connection that served one tenant keeps nothing of it for the next.
        assert tx.session.scalar(text("SELECT current_setting('crm.tenant')")) == others.id


def test_a_row_cannot_be_written_for_another_tenant(store: Store, neighbours: tuple[Tenant, Tenant]) -> None:
    mine, others = neighbours
    attempts: list[Callable[[Session], object]] = [
        lambda session: session.execute(insert(Department).values(**department(others))),
        lambda session: session.execute(update(Department).values(tenant_id=others.id)),
    ]
    for attempt in attempts:
        with (
            pytest.raises(ProgrammingError, match="row-level security"),
            store.transaction(mine) as tx,
        ):
            attempt(tx.session)


def test_who_says_nothing_sees_nothing_and_only_across_sees_all(
    store: Store, neighbours: tuple[Tenant, Tenant]
) -> None:
    count = select(func.count()).select_from(Department)
    with store.engine("main").connect() as connection:
        assert connection.scalar(count) == 0
    with store.across("main") as session:
        assert set(session.scalars(select(Department.tenant_id))) >= {tenant.id for tenant in neighbours}
    with store.engine("main").connect() as connection:
        # The connection that looked across is back in the pool and blind again.
        assert connection.scalar(count) == 0


def test_a_tenants_id_cannot_carry_sql(store: Store) -> None:
    with pytest.raises(ValueError, match="UUID"), store.transaction(Tenant("'; SELECT 1; --", "main")) as tx:
        tx.session.execute(select(1))
