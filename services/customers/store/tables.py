"""The tables of customers.

The database itself refuses two things (see the migration): a change of the ledger, and an owner of a customer whom the
ledger's last row does not name.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata

RecordId = Uuid(as_uuid=False)


class Base(DeclarativeBase):
    """Base of the tables of customers."""

    metadata = service_metadata("customers")
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
    }


class Settings(Base):
    """A tenant's settings. rule_version grows with the rule and the pool it leads to."""

    __tablename__ = "settings"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    registration_required: Mapped[bool]
    owner_cap: Mapped[int] = mapped_column(Integer)
    idle_days: Mapped[int] = mapped_column(Integer)
    warn_days: Mapped[int] = mapped_column(Integer)
    default_pool_id: Mapped[str] = mapped_column(RecordId)
    rule_version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "default_pool_id"], ["customers.pool.tenant_id", "customers.pool.pool_id"]
        ),
    )


class Pool(Base):
    """A public pool. department_ids: whose people are members, empty for everybody. rule_version as in settings."""

    __tablename__ = "pool"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    pool_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    name: Mapped[str]
    idle_days: Mapped[int] = mapped_column(Integer)
    warn_days: Mapped[int] = mapped_column(Integer)
    department_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    daily_claims: Mapped[int] = mapped_column(Integer)
    rule_version: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)


class Customer(Base):
    """A customer, or a registration of one.

    submitter_id: who made it; owner_department_path: of the owner, of the submitter while a registration waits.
    warn_due_at: when the owner is to be warned, absent once it is done; reclaim_due_at: when the customer falls back;
    warned_time: of the warning that precedes it. rule_version: of the rule that set them.
    """

    __tablename__ = "customer"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    name: Mapped[str]
    state: Mapped[str]
    level: Mapped[str]
    region: Mapped[str]
    address: Mapped[str]
    business_type: Mapped[str]
    submitter_id: Mapped[str | None] = mapped_column(RecordId)
    approver_id: Mapped[str | None] = mapped_column(RecordId)
    reservation_id: Mapped[str | None] = mapped_column(RecordId)
    owner_id: Mapped[str | None] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    own_time: Mapped[datetime | None]
    last_evidence_time: Mapped[datetime | None]
    lock_expire_time: Mapped[datetime | None]
    warned_time: Mapped[datetime | None]
    warn_due_at: Mapped[datetime | None]
    reclaim_due_at: Mapped[datetime | None]
    rule_version: Mapped[int] = mapped_column(BigInteger)
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "pool_id"], ["customers.pool.tenant_id", "customers.pool.pool_id"]
        ),
        # A registration has no owner before it has passed.
        CheckConstraint("owner_id IS NULL OR (state = 'active' AND own_time IS NOT NULL)", name="owned"),
        Index("ix_customer_newest", "tenant_id", "create_time", "customer_id"),
        Index(
            "ix_customer_owner",
            "tenant_id",
            "owner_id",
            "create_time",
            "customer_id",
            postgresql_where=text("owner_id IS NOT NULL"),
        ),
        Index(
            "ix_customer_pool",
            "tenant_id",
            "pool_id",
            "create_time",
            "customer_id",
            postgresql_where=text("owner_id IS NULL AND state = 'active'"),
        ),
        Index("ix_customer_pending", "tenant_id", "submitter_id", postgresql_where=text("state = 'pending'")),
        Index(
            "ix_customer_warn_due",
            "tenant_id",
            "pool_id",
            "warn_due_at",
            postgresql_where=text("warn_due_at IS NOT NULL"),
        ),
        Index(
            "ix_customer_reclaim_due",
            "tenant_id",
            "pool_id",
            "reclaim_due_at",
            postgresql_where=text("reclaim_due_at IS NOT NULL"),
        ),
        Index(
            "ix_customer_rule",
            "tenant_id",
            "pool_id",
            "rule_version",
            postgresql_where=text("owner_id IS NOT NULL"),
        ),
        Index(
            "ix_customer_lock",
            "tenant_id",
            "pool_id",
            "lock_expire_time",
            postgresql_where=text("lock_expire_time IS NOT NULL"),
        ),
    )


class Contact(Base):
    """A person at a customer. position: place in the form."""

    __tablename__ = "contact"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    contact_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId)
    name: Mapped[str]
    title: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    create_time: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        Index("ix_contact_customer", "tenant_id", "customer_id"),
    )


class Phone(Base):
    """A number of a customer, or of one of its contacts."""

    __tablename__ = "phone"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    phone_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId)
    contact_id: Mapped[str | None] = mapped_column(RecordId)
    e164: Mapped[str]
    extension: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        ForeignKeyConstraint(
            ["tenant_id", "contact_id"], ["customers.contact.tenant_id", "customers.contact.contact_id"]
        ),
        Index("ix_phone_e164", "tenant_id", "e164"),
        Index("ix_phone_customer", "tenant_id", "customer_id"),
    )


class FollowUp(Base):
    """A record of work on a customer."""

    __tablename__ = "follow_up"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    follow_up_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId)
    author_id: Mapped[str] = mapped_column(RecordId)
    text: Mapped[str]
    create_time: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        Index("ix_follow_up_newest", "tenant_id", "customer_id", "create_time", "follow_up_id"),
    )


class OwnerCounter(Base):
    """The row that is locked while somebody's customers are counted; it counts nothing itself."""

    __tablename__ = "owner_counter"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    owner_id: Mapped[str] = mapped_column(RecordId, primary_key=True)


class OwnershipChange(Base):
    """A row of the ledger, append-only. sequence: order of a customer's rows. inputs: what the rule decided on."""

    __tablename__ = "ownership_change"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    change_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    customer_id: Mapped[str] = mapped_column(RecordId)
    from_owner_id: Mapped[str | None] = mapped_column(RecordId)
    to_owner_id: Mapped[str | None] = mapped_column(RecordId)
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    cause: Mapped[str]
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    reason: Mapped[str]
    rule_version: Mapped[int] = mapped_column(BigInteger)
    inputs: Mapped[dict[str, Any]] = mapped_column(JSONB)
    create_time: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        Index("ix_ownership_change_customer", "tenant_id", "customer_id", "sequence"),
        Index(
            "ix_ownership_change_claims",
            "tenant_id",
            "to_owner_id",
            "create_time",
            postgresql_where=text("cause = 'claim'"),
        ),
    )


class ReservationOutcome(Base):
    """What became of a key reservation: its rows were written, or never will be."""

    __tablename__ = "reservation_outcome"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    reservation_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    outcome: Mapped[str]
    create_time: Mapped[datetime]
