"""Dedupe's tables. The primary key of `held_key` is what makes one of two simultaneous writers win."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata
from services.dedupe.domain.reservations import ReservationState


class Base(DeclarativeBase):
    """Base of dedupe's tables."""

    metadata = service_metadata("dedupe")
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
    }


class Rule(Base):
    """A field that is unique in the tenant, or not while the rule is off.

    threshold: of SIMILAR, in bits. entrances: where it holds, empty for everywhere.
    """

    __tablename__ = "rule"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    # Derived from the other three.
    rule_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    active: Mapped[bool]
    verdict: Mapped[str] = mapped_column(server_default="block")
    threshold: Mapped[float | None] = mapped_column(Double)
    entrances: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    version: Mapped[int] = mapped_column(BigInteger)


class Reservation(Base):
    """What a writer took. request_digest tells a repeat from another request; holder_name is masked."""

    __tablename__ = "reservation"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    reservation_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    state: Mapped[str]
    request_digest: Mapped[bytes] = mapped_column(LargeBinary)
    holder_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    holder_name: Mapped[str]
    settle_time: Mapped[datetime]
    create_time: Mapped[datetime]
    __table_args__ = (
        Index(None, "tenant_id", "settle_time"),
        Index(
            "ix_reservation_unconfirmed",
            "tenant_id",
            "settle_time",
            postgresql_where=text(f"state = '{ReservationState.RESERVED}'"),
        ),
    )


class HeldKey(Base):
    """A key and the subject that holds it."""

    __tablename__ = "held_key"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    subject_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    reservation_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    # Whose it was before that customer was merged into the subject.
    former_subject_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "reservation_id"],
            ["dedupe.reservation.tenant_id", "dedupe.reservation.reservation_id"],
        ),
        # Not the tenant first: of a new one the planner knows no rows, and would take this for any key.
        Index("ix_held_key_reservation", "reservation_id", "tenant_id"),
    )


class MatchRecord(Base):
    """A customer or contact as matching compares it, written in the transaction that takes its keys.

    name: as typed. whole, core, sound, regions: as the matching engine has them, a customer's only; whole is empty
    where it is the name. brand_length: characters of the core that are the brand; None in rows from before it was kept.
    phones, credit_code: digests. grams: hashes of the name's pieces and of each phone and the code. owner_id: who may
    see it unmasked, as of the customer's version owner_version.
    """

    __tablename__ = "match_record"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    subject_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str]
    customer_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    reservation_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    name: Mapped[str]
    whole: Mapped[str] = mapped_column(server_default="")
    core: Mapped[str]
    sound: Mapped[str]
    brand_length: Mapped[int | None] = mapped_column(SmallInteger)
    regions: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    phones: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary))
    credit_code: Mapped[bytes] = mapped_column(LargeBinary)
    address: Mapped[str]
    grams: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    owner_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    owner_version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    holder_name: Mapped[str]
    create_time: Mapped[datetime]
    __table_args__ = (
        # Not by the tenant first: of one that came since statistics were made PostgreSQL believes that it has no rows,
        # and takes any index that begins with it.
        Index("ix_match_record_customer", "customer_id", "tenant_id"),
        Index("ix_match_record_reservation", "reservation_id", "tenant_id"),
        Index("ix_match_record_newest", "tenant_id", "create_time"),
        # What a statement brings is put in together at its end, so that every look-up costs the same: see the
        # migration dedupe_0010.
        Index("ix_match_record_grams", "grams", postgresql_using="gin", postgresql_with={"fastupdate": "on"}),
    )


class GramCount(Base):
    """How many records have a gram, about; one that is not here is rare."""

    __tablename__ = "gram_count"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    gram: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)


class GramCounting(Base):
    """When a tenant's grams were counted last, and over how many records."""

    __tablename__ = "gram_counting"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    records: Mapped[int] = mapped_column(BigInteger)
    count_time: Mapped[datetime]


class Clash(Base):
    """A record that was there before a rule and breaks it: another one holds the key."""

    __tablename__ = "clash"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    holder_subject_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    create_time: Mapped[datetime]


class Backfill(Base):
    """A rule that came on and still keys what was there. after: the last subject that it has looked at.

    Not in `rule`: its row is locked by whoever takes keys, and keys are taken here.
    """

    __tablename__ = "backfill"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    after: Mapped[str] = mapped_column(Uuid(as_uuid=False))


class Suspicion(Base):
    """A tenant's windows, thresholds and weights; absent, or absent in it: the preset."""

    __tablename__ = "suspicion"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Inquiry(Base):
    """What somebody asked a price for. inquirer: digest of who it was, the number before the name.

    phone: masked. items: product, quantity and specification of each line. products: folded names. quote_time: when
    it was quoted for.
    """

    __tablename__ = "inquiry"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    inquiry_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    inquirer: Mapped[bytes] = mapped_column(LargeBinary)
    inquirer_name: Mapped[str]
    company_name: Mapped[str]
    phone: Mapped[str]
    items: Mapped[list[dict[str, str]]] = mapped_column(JSONB)
    products: Mapped[list[str]] = mapped_column(ARRAY(Text))
    site_address: Mapped[str]
    scheme: Mapped[str]
    recorder_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    quote_time: Mapped[datetime | None]
    __table_args__ = (Index("ix_inquiry_newest", "tenant_id", "create_time", "inquiry_id"),)


class Project(Base):
    """A project that somebody registered (F153); while it is open, its reservation holds its key.

    customer_id: whose it is, where that is known. department_path: the owner's when it was registered.
    """

    __tablename__ = "project"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    project_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    reservation_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    state: Mapped[str]
    name: Mapped[str]
    site_address: Mapped[str]
    scheme: Mapped[str]
    customer_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    owner_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    owner_name: Mapped[str]
    department_path: Mapped[str]
    close_reason: Mapped[str]
    create_time: Mapped[datetime]
    close_time: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "reservation_id"],
            ["dedupe.reservation.tenant_id", "dedupe.reservation.reservation_id"],
        ),
        Index("ix_project_newest", "tenant_id", "state", "create_time", "project_id"),
        Index("ix_project_customer", "tenant_id", "customer_id"),
    )


class Staff(Base):
    """Where a person works, as identity told last: a manager sees the customers of the department's people."""

    __tablename__ = "staff"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    department_path: Mapped[str]
    version: Mapped[int] = mapped_column(BigInteger)


class Suspect(Base):
    """Inquiries and projects that are perhaps one customer's. shared: what the likest pair has in common."""

    __tablename__ = "suspect"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    suspect_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    dimension: Mapped[str]
    state: Mapped[str]
    verdict: Mapped[str]
    likeness: Mapped[float] = mapped_column(Double)
    surprise: Mapped[float] = mapped_column(Double)
    shared: Mapped[list[str]] = mapped_column(ARRAY(Text))
    # What each of the shared is worth, in bits.
    shared_bits: Mapped[list[float]] = mapped_column(ARRAY(Double), server_default="{}")
    inquiry_ids: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)))
    project_ids: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)), server_default="{}")
    decider_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        Index("ix_suspect_newest", "tenant_id", "state", "create_time", "suspect_id"),
        Index("ix_suspect_inquiries", "inquiry_ids", postgresql_using="gin"),
        Index("ix_suspect_projects", "project_ids", postgresql_using="gin"),
    )


class ToldApart(Base):
    """Two inquirers or projects that are not one customer's: a person said so. low, high: their digests in order."""

    __tablename__ = "told_apart"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    low: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    high: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)


class Scan(Base):
    """A pass over all customers that looks for duplicates. after: the last customer that it has looked at."""

    __tablename__ = "scan"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    scan_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    after: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    scanned: Mapped[int] = mapped_column(BigInteger)
    found: Mapped[int] = mapped_column(BigInteger)
    actor_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    finish_time: Mapped[datetime | None]
    __table_args__ = (Index("ix_scan_newest", "tenant_id", "create_time", "scan_id"),)


class DuplicatePair(Base):
    """Two customers that a scan found alike; low, high: their ids in order. reasons: field, weight and both texts.

    group_id: of the pairs that are reviewed together, the smallest id in it. A dismissed pair stays dismissed.
    """

    __tablename__ = "duplicate_pair"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    low: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    high: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    state: Mapped[str]
    verdict: Mapped[str]
    score: Mapped[float] = mapped_column(Double)
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    group_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    decider_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    __table_args__ = (
        Index("ix_duplicate_pair_group", "tenant_id", "state", "group_id"),
        Index("ix_duplicate_pair_high", "tenant_id", "high"),
    )
