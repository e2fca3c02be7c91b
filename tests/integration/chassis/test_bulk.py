"""Many rows in one statement: every type of a column arrives as it left."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import ARRAY, BigInteger, DateTime, LargeBinary, Numeric, Text, Uuid, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from deploy.local.stores import PrivateStores
from services.chassis import places
from services.chassis.bulk import MANY_ROWS, insert_rows, one_of, update_rows
from services.chassis.clock import utc_now
from services.chassis.db import Store, Transaction, service_metadata
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant


class Base(DeclarativeBase):
    metadata = service_metadata("bulktest")


class Thing(Base):
    __tablename__ = "thing"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int | None] = mapped_column(BigInteger)
    price: Mapped[Decimal | None] = mapped_column(Numeric)
    day: Mapped[date | None]
    time: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    digests: Mapped[list[bytes] | None] = mapped_column(ARRAY(LargeBinary))
    words: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    numbers: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # Not among the rows that are written: what the table itself says stands.
    said: Mapped[str] = mapped_column(Text, server_default="by the table")


FULL: dict[str, Any] = {
    "count": -(2**62),
    "price": Decimal("12345678901234567890.123456"),
    "day": date(2026, 3, 1),
    "time": datetime(2026, 3, 1, 9, 30, 0, 123456, tzinfo=UTC),
    "digest": b"\x00\xff'\\",
    "digests": [b"\x01", b""],
    "words": ["逗号,", '引号"', "NULL", "{}", "\\", "𠮷", ""],
    "numbers": [2**62, -1],
    "data": {"名": [1, None, {"x": "\u2028"}], "空": {}},
}


@pytest.fixture(scope="module")
def store(stores: PrivateStores) -> Iterator[Store]:
    """A store with the table, in both databases."""
    store = Store(stores.database_urls, Base.metadata, utc_now)
    for database in stores.database_urls:
        with store.engine(database).begin() as connection:
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS bulktest"))
            places.build(connection)
            Base.metadata.create_all(connection)
    yield store
    store.close()


def things(tx: Transaction) -> dict[str, Thing]:
    """Return the tenant's rows by key."""
    rows = tx.session.scalars(select(Thing).where(Thing.tenant_id == tx.tenant.id))
    return {row.key: row for row in rows}


def test_every_type_arrives_as_it_left(store: Store, tenant: Tenant) -> None:
    rows = [
        {"tenant_id": tenant.id, "key": "full", **FULL},
        {"tenant_id": tenant.id, "key": "empty", **dict.fromkeys(FULL)},
    ]
    with store.transaction(tenant) as tx:
        tx.session.execute(insert_rows(Thing, rows))
    with store.transaction(tenant) as tx:
        found = things(tx)
        assert {name: getattr(found["full"], name) for name in FULL} == FULL
        assert {getattr(found["empty"], name) for name in FULL} == {None}
        assert found["full"].said == "by the table"


def test_what_many_rows_have_in_common_travels_once_and_arrives_in_all(store: Store, tenant: Tenant) -> None:
    keys = [f"k{number:03}" for number in range(MANY_ROWS)]
    rows = [{"tenant_id": tenant.id, "key": key, **FULL, "words": [key]} for key in keys]
    statement = insert_rows(Thing, rows)
    with store.transaction(tenant) as tx:
        added = tx.session.execute(statement.on_conflict_do_nothing().returning(Thing.key)).scalars().all()
        assert added == keys
    assert max(len(str(value)) for value in statement.compile().params.values()) < 60 * MANY_ROWS
    with store.transaction(tenant) as tx:
        found = things(tx)
        for key in keys:
            assert {name: getattr(found[key], name) for name in FULL} == FULL | {"words": [key]}
        for condition, expected in (
            (one_of(Thing.count, [FULL["count"], 5]), keys),
            (one_of(Thing.tenant_id, [tenant.id]), keys),
            (one_of(Thing.count, []), []),
        ):
            query = select(Thing.key).where(Thing.tenant_id == tenant.id, condition).order_by(Thing.key)
            assert tx.session.scalars(query).all() == expected


def test_only_rows_that_are_free_are_written_and_told(store: Store, tenant: Tenant) -> None:
    def rows(*keys: str) -> list[dict[str, Any]]:
        return [{"tenant_id": tenant.id, "key": key, "count": 1} for key in keys]

    with store.transaction(tenant) as tx:
        tx.session.execute(insert_rows(Thing, rows("b")))
        added = insert_rows(Thing, rows("a", "b", "c")).on_conflict_do_nothing().returning(Thing.key)
        assert tx.session.execute(added).scalars().all() == ["a", "c"]


def test_rows_are_changed_by_their_keys_and_others_are_left(store: Store, tenant: Tenant) -> None:
    other = Tenant(new_id(), tenant.database)
    for owner in (tenant, other):
        with store.transaction(owner) as tx:
            rows = [{"tenant_id": owner.id, "key": key, "count": 1, "words": ["之前"]} for key in ("a", "b")]
            tx.session.execute(insert_rows(Thing, rows))
    with store.transaction(tenant) as tx:
        change = [{"tenant_id": tenant.id, "key": "a", "words": ["后"], "count": None}]
        tx.session.execute(update_rows(Thing, change, ("tenant_id", "key")))
    with store.transaction(tenant) as tx:
        found = things(tx)
        assert (found["a"].words, found["a"].count) == (["后"], None)
        assert (found["b"].words, found["b"].count) == (["之前"], 1)
    with store.transaction(other) as tx:
        assert {row.count for row in things(tx).values()} == {1}


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError):
        insert_rows(Thing, [{"tenant_id": new_id(), "key": object()}])
