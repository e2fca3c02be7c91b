"""The tables around a customer's record: fields, categories, addresses, plans, the timeline and saved views."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ForeignKeyConstraint,
    Index,
    Integer,
    Text,
    UniqueConstraint,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.customers.store.tables import Base, RecordId
from services.kernel.field_store import FieldColumns, FieldValueColumns

__all__ = ["Address", "Base", "Category", "Field", "FieldValue", "Plan", "SavedView", "TimelineEntry"]


class Field(Base, FieldColumns):
    """A field of the tenant's own, of customers."""

    __tablename__ = "field"


class FieldValue(Base, FieldValueColumns):
    """A value of a unique or searchable field of a customer."""

    __tablename__ = "field_value"


class Category(Base):
    """A node of the tree of categories. path: ids from the root, "/" behind each, its own included."""

    __tablename__ = "category"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    category_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    parent_id: Mapped[str | None] = mapped_column(RecordId)
    name: Mapped[str]
    path: Mapped[str]
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        UniqueConstraint("tenant_id", "parent_id", "name", postgresql_nulls_not_distinct=True),
        ForeignKeyConstraint(
            ["tenant_id", "parent_id"], ["customers.category.tenant_id", "customers.category.category_id"]
        ),
    )


class Address(Base):
    """A place of a customer. kind: visit, ship, send. position: order in the form."""

    __tablename__ = "address"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    address_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId)
    kind: Mapped[str]
    region: Mapped[str]
    detail: Mapped[str]
    recipient: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        Index("ix_address_customer", "tenant_id", "customer_id", "position"),
    )


class Plan(Base):
    """A follow-up that somebody intends. follow_up_id: the one that completed it."""

    __tablename__ = "plan"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    plan_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId)
    person_id: Mapped[str] = mapped_column(RecordId)
    text: Mapped[str]
    due_time: Mapped[datetime]
    complete_time: Mapped[datetime | None]
    follow_up_id: Mapped[str | None] = mapped_column(RecordId)
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        Index("ix_plan_customer", "tenant_id", "customer_id", "due_time", "plan_id"),
        Index(
            "ix_plan_open",
            "tenant_id",
            "person_id",
            "due_time",
            "plan_id",
            postgresql_where=sql("complete_time IS NULL"),
        ),
    )


class TimelineEntry(Base):
    """Something that happened to a customer, told by its service. entry_id: the same for the same thing told again.

    data: what the line says of it; never a telephone number.
    """

    __tablename__ = "timeline_entry"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    entry_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId)
    kind: Mapped[str]
    subject_id: Mapped[str | None] = mapped_column(RecordId)
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    time: Mapped[datetime]
    __table_args__ = (Index("ix_timeline_entry_newest", "tenant_id", "customer_id", "time", "entry_id"),)


class SavedView(Base):
    """A filter, an order and columns under a name. shared: for everybody, else only for who made it."""

    __tablename__ = "saved_view"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    view_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    person_id: Mapped[str] = mapped_column(RecordId)
    shared: Mapped[bool] = mapped_column(Boolean)
    name: Mapped[str]
    view: Mapped[str]
    filter: Mapped[dict[str, Any]] = mapped_column(JSONB)
    order_by: Mapped[str]
    columns: Mapped[list[str]] = mapped_column(ARRAY(Text))
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (UniqueConstraint("tenant_id", "person_id", "name"),)
