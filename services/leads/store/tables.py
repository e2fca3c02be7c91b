"""The tables of leads: leads, their log and their owners, conversions, opportunities."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata
from services.kernel.field_store import FieldColumns, FieldValueColumns

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
        # Who calls: asked while a phone rings.
        Index("ix_lead_phone", "tenant_id", "phone", postgresql_where=text("phone <> ''")),
        Index(
            "ix_lead_neglected",
            "tenant_id",
            "evidence_time",
            postgresql_where=text("owner_id IS NOT NULL AND state IN ('assigned', 'following', 'invalid')"),
        ),
        # Leads that wait in a pool, the oldest first.
        Index(
            "ix_lead_waiting",
            "tenant_id",
            "pool_id",
            "create_time",
            postgresql_where=text("state = 'unassigned'"),
        ),
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
    # The pool that it is in, or falls back into; NULL: the tenant's own.
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    # What it became.
    customer_id: Mapped[str | None] = mapped_column(RecordId)
    opportunity_id: Mapped[str | None] = mapped_column(RecordId)
    last_follow_time: Mapped[datetime | None]
    # When its owner gained it or followed it up last: neglect is counted from here.
    evidence_time: Mapped[datetime | None]
    # Of the warning that precedes a reclaim, absent unless it came after the evidence.
    warned_time: Mapped[datetime | None]
    lock_expire_time: Mapped[datetime | None]
    # The tenant's own, as services/kernel/fields.py stores them.
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)


class Field(Base, FieldColumns):
    """A field of the tenant's own, of leads."""

    __tablename__ = "field"


class FieldValue(Base, FieldValueColumns):
    """A value of a unique or searchable field of a lead."""

    __tablename__ = "field_value"


class Pool(Base):
    """A pool beside the tenant's own, whose rules are the settings.

    Its members are the people of department_ids and those below, person_ids, holders of roles, and the people whose
    regions region_ids name; where nothing is named, everybody.
    """

    __tablename__ = "pool"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    name: Mapped[str]
    # Texts: compared with the parts of a department's path.
    department_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))
    person_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    region_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId), server_default="{}")
    daily_claims: Mapped[int] = mapped_column(Integer)
    idle_days: Mapped[int] = mapped_column(Integer)
    warn_days: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(BigInteger)


class Staff(Base):
    """A person's roles and regions as identity told last; region_ids: of departments."""

    __tablename__ = "staff"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    person_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    region_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    version: Mapped[int] = mapped_column(BigInteger)


class OwnerCounter(Base):
    """The row that is locked while somebody's leads are counted; it counts nothing itself."""

    __tablename__ = "owner_counter"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    owner_id: Mapped[str] = mapped_column(RecordId, primary_key=True)


class OwnershipChange(Base):
    """A row of the ledger of owners; append only, and the database lets no owner be whom it does not name."""

    __tablename__ = "ownership_change"
    __table_args__ = (
        Index(None, "lead_id", "id"),
        Index(
            "ix_ownership_change_claims",
            "tenant_id",
            "to_owner_id",
            "create_time",
            postgresql_where=text("cause = 'claim'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    lead_id: Mapped[str] = mapped_column(RecordId, ForeignKey("leads.lead.id"))
    from_owner_id: Mapped[str | None] = mapped_column(RecordId)
    to_owner_id: Mapped[str | None] = mapped_column(RecordId)
    cause: Mapped[str]
    # NULL for the system.
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    reason: Mapped[str]
    # The lead's pool of then, as Lead.pool_id.
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    create_time: Mapped[datetime]


class Settings(Base):
    """The cap, and the rules of a tenant's own lead pool, laid down at its first use.

    0 means no limit, and idle_days 0: never.
    """

    __tablename__ = "settings"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    owner_cap: Mapped[int] = mapped_column(Integer)
    daily_claims: Mapped[int] = mapped_column(Integer)
    idle_days: Mapped[int] = mapped_column(Integer)
    warn_days: Mapped[int] = mapped_column(Integer)
    captures_per_minute: Mapped[int] = mapped_column(Integer)


class PushRule(Base):
    """When a tenant's leads are pushed, and to whom; no row: never. times: 09:00. set_time: when it was set."""

    __tablename__ = "push_rule"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    times: Mapped[list[str]] = mapped_column(JSONB)
    person_ids: Mapped[list[str]] = mapped_column(JSONB)
    per_push: Mapped[int] = mapped_column(Integer)
    most_waiting: Mapped[int] = mapped_column(Integer)
    set_time: Mapped[datetime]


class LeadPush(Base):
    """What a push of a set time did. given: leads by person; left_out: why, by person; remaining: in the pool then."""

    __tablename__ = "lead_push"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    set_time: Mapped[datetime] = mapped_column(primary_key=True)
    begin_time: Mapped[datetime]
    # NULL while it goes on.
    finish_time: Mapped[datetime | None]
    given: Mapped[dict[str, int]] = mapped_column(JSONB)
    left_out: Mapped[dict[str, str]] = mapped_column(JSONB)
    remaining: Mapped[int] = mapped_column(Integer)


class CaptureSource(Base):
    """A registered outside source. secret: its leads are signed with it, so it is kept as it is."""

    __tablename__ = "capture_source"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    # Into which pool its leads come, as Lead.pool_id.
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    create_time: Mapped[datetime]
    # Since when its leads are refused. The row stays: without it they would come in unsigned.
    end_time: Mapped[datetime | None]


class CaptureCounter(Base):
    """How many leads a caller captured in the minute that it is in."""

    __tablename__ = "capture_counter"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    caller_id: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[datetime]
    count: Mapped[int] = mapped_column(Integer)


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
    # Of several customers of that name the one that the caller chose.
    chosen_customer_id: Mapped[str | None] = mapped_column(RecordId)
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
    # Empty until its conversion is through; stage_time: since when it is in that stage.
    stage_id: Mapped[str | None] = mapped_column(RecordId)
    stage_time: Mapped[datetime | None]
    close_time: Mapped[datetime | None]
    expected_close_date: Mapped[date | None]
    needs: Mapped[str] = mapped_column(server_default="")
    competitors: Mapped[str] = mapped_column(server_default="")
    lose_reason: Mapped[str] = mapped_column(server_default="")
    # The order that came of it, as orders told last; order_version: an older word is ignored.
    order_id: Mapped[str | None] = mapped_column(RecordId)
    order_state: Mapped[str] = mapped_column(server_default="")
    order_version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)


class OpportunityChange(Base):
    """A row of an opportunity's log; append only."""

    __tablename__ = "opportunity_change"
    __table_args__ = (Index(None, "opportunity_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    opportunity_id: Mapped[str] = mapped_column(RecordId, ForeignKey("leads.opportunity.id"))
    action: Mapped[str]
    # NULL for the first row.
    from_stage_id: Mapped[str | None] = mapped_column(RecordId)
    to_stage_id: Mapped[str] = mapped_column(RecordId)
    # NULL for the system.
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    text: Mapped[str]
    create_time: Mapped[datetime]


class Stages(Base):
    """A tenant's stages: [{id, name, probability}] in order, laid down at the first use."""

    __tablename__ = "stages"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    stages: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
