"""The tables of leads: leads and their log, conversions, opportunities."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata

RecordId = Uuid(as_uuid=False)


class Base(DeclarativeBase):
    """The schema."""

    metadata = service_metadata("leads")
    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy reads it
        str: Text,
        datetime: DateTime(timezone=True),
    }


class Lead(Base):
    """Somebody who may become a customer."""

    __tablename__ = "lead"
    __table_args__ = (
        # NULLs are distinct: only captured leads have a key.
        UniqueConstraint("tenant_id", "source", "source_key"),
        Index("ix_lead_newest", "tenant_id", "create_time", "id"),
        Index("ix_lead_owner", "tenant_id", "owner_id", "create_time"),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    name: Mapped[str]
    company: Mapped[str]
    # E.164, empty when none was given; and with its extension, as keys are compared.
    phone: Mapped[str]
    phone_key: Mapped[str]
    source: Mapped[str]
    source_key: Mapped[str | None]
    note: Mapped[str]
    state: Mapped[str]
    owner_id: Mapped[str | None] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    # The conversion that holds the lead at present: nothing else changes it meanwhile.
    conversion_id: Mapped[str | None] = mapped_column(RecordId)
    # What it became.
    customer_id: Mapped[str | None] = mapped_column(RecordId)
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)


class LeadChange(Base):
    """A row of a lead's log; append only."""

    __tablename__ = "lead_change"
    __table_args__ = (Index(None, "lead_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    lead_id: Mapped[str] = mapped_column(RecordId, ForeignKey("leads.lead.id"))
    # Empty for the first row.
    from_state: Mapped[str]
    to_state: Mapped[str]
    # NULL for the system.
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    text: Mapped[str]
    create_time: Mapped[datetime]


class Conversion(Base):
    """A request to convert a lead, its plan, and its answer.

    The id derives from lead and request id; it is also the request id towards other services.
    """

    __tablename__ = "conversion"
    __table_args__ = (Index(None, "lead_id"),)

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    lead_id: Mapped[str] = mapped_column(RecordId, ForeignKey("leads.lead.id"))
    actor_id: Mapped[str] = mapped_column(RecordId)
    # What dedupe calls the actor, masked, towards others; known from the first step on.
    actor_name: Mapped[str]
    customer_name: Mapped[str]
    opportunity_name: Mapped[str]
    amount: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    state: Mapped[str]
    # The plan: new ids until a customer to link to is found.
    customer_id: Mapped[str] = mapped_column(RecordId)
    linked: Mapped[bool]
    contact_id: Mapped[str | None] = mapped_column(RecordId)
    opportunity_id: Mapped[str | None] = mapped_column(RecordId)
    # How often it was planned; each time has a reservation of its own.
    round: Mapped[int]
    # code, reason, zh, en, metadata of the error, for a repeat of the request.
    refusal: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    create_time: Mapped[datetime]
    finish_time: Mapped[datetime | None]


class Opportunity(Base):
    """A sale in the making."""

    __tablename__ = "opportunity"
    __table_args__ = (
        UniqueConstraint("tenant_id", "customer_id", "name"),
        Index("ix_opportunity_newest", "tenant_id", "create_time", "id"),
        Index("ix_opportunity_owner", "tenant_id", "owner_id", "create_time"),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    customer_id: Mapped[str] = mapped_column(RecordId)
    # As the conversion knew it, for whoever reads of the opportunity elsewhere.
    customer_name: Mapped[str]
    name: Mapped[str]
    owner_id: Mapped[str] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    # CNY.
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    state: Mapped[str]
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)
