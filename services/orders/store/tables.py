"""The tables of orders: orders and their log, the counters of numbers, settings."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata

RecordId = Uuid(as_uuid=False)


class Base(DeclarativeBase):
    """The schema."""

    metadata = service_metadata("orders")
    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy reads it
        str: Text,
        datetime: DateTime(timezone=True),
        date: Date,
        timedelta: Interval,
    }


class Order(Base):
    """What a customer bought."""

    __tablename__ = "order"
    __table_args__ = (
        # However often it is told, a won opportunity makes one order.
        UniqueConstraint("tenant_id", "opportunity_id"),
        UniqueConstraint("tenant_id", "number"),
        Index("ix_order_newest", "tenant_id", "create_time", "id"),
        Index("ix_order_owner", "tenant_id", "owner_id", "create_time"),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    number: Mapped[str]
    opportunity_id: Mapped[str] = mapped_column(RecordId)
    customer_id: Mapped[str] = mapped_column(RecordId)
    customer_name: Mapped[str]
    owner_id: Mapped[str] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    title: Mapped[str]
    # CNY.
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    state: Mapped[str]
    remind_time: Mapped[datetime]
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)


class OrderChange(Base):
    """A row of an order's log; append only."""

    __tablename__ = "order_change"
    __table_args__ = (Index(None, "order_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    order_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.order.id"))
    # Empty for the first row.
    from_state: Mapped[str]
    to_state: Mapped[str]
    # NULL for the system.
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    comment: Mapped[str]
    create_time: Mapped[datetime]


class NumberCounter(Base):
    """How many orders a tenant has of a day; locked while the next one is made."""

    __tablename__ = "number_counter"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class Settings(Base):
    """What a tenant set; no row means the defaults."""

    __tablename__ = "settings"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    handle_within: Mapped[timedelta]
