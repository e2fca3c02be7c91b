"""The tables of customers.

The database itself refuses two things (see the migration): a change of the ledger, and an owner of a customer whom the
ledger's last row does not name.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
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
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata
from services.customers.domain.search import fold, name_pieces
from services.kernel.pinyin import initials

RecordId = Uuid(as_uuid=False)


def _of_name(derive: Callable[[str], Any]) -> Callable[[DefaultExecutionContext], Any]:
    """Return the default of a column that follows from the customer's name, however the row is written."""
    return lambda context: derive(_parameters(context)["name"])


def _parameters(context: DefaultExecutionContext) -> Mapping[str, Any]:
    parameters: Mapping[str, Any] = context.get_current_parameters()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    return parameters


class Base(DeclarativeBase):
    """Base of the tables of customers."""

    metadata = service_metadata("customers")
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
    }


class Settings(Base):
    """A tenant's settings. rule_version grows with the rule and the pool it leads to. reclaim, lock_cap: see Pool."""

    __tablename__ = "settings"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    registration_required: Mapped[bool]
    owner_cap: Mapped[int] = mapped_column(Integer)
    idle_days: Mapped[int] = mapped_column(Integer)
    warn_days: Mapped[int] = mapped_column(Integer)
    default_pool_id: Mapped[str] = mapped_column(RecordId)
    rule_version: Mapped[int] = mapped_column(BigInteger)
    reclaim: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    # Customers a person may keep locked; 0: as many as the kernel says.
    lock_cap: Mapped[int] = mapped_column(Integer, server_default="0")
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "default_pool_id"], ["customers.pool.tenant_id", "customers.pool.pool_id"]
        ),
    )


class Pool(Base):
    """A public pool. rule_version as in settings.

    Its members are the people of department_ids and those below, person_ids, who have one of roles or one of
    region_ids as a region; where nothing is named, everybody. admin_ids are not limited in what they claim. reclaim:
    what the rule holds beside idle_days and warn_days. claim_requests, daily_claims: of a person in claim_period_days.
    """

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
    kind: Mapped[str] = mapped_column(server_default="")
    reclaim: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    person_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId), server_default="{}")
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    region_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId), server_default="{}")
    admin_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId), server_default="{}")
    claim_requests: Mapped[int] = mapped_column(Integer, server_default="0")
    claim_period_days: Mapped[int] = mapped_column(Integer, server_default="1")
    cool_down_days: Mapped[int] = mapped_column(Integer, server_default="0")
    new_data_days: Mapped[int] = mapped_column(Integer, server_default="0")
    hidden_fields: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)


class Customer(Base):
    """A customer, or a registration of one.

    submitter_id: who made it; owner_department_path: of the owner, of the submitter while a registration waits.
    warn_due_at: when the owner is to be warned, absent once it is done; reclaim_due_at: when the customer falls back;
    warned_time: of the warning that precedes it. rule_version: of the rule that set them.
    last_evidence_time: the last of the four kinds of evidence. pool_time: when it came into its pool, without owner.
    allocate_due: a rule of allocation has to look at it.
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
    last_follow_up_time: Mapped[datetime | None]
    last_call_time: Mapped[datetime | None]
    last_order_time: Mapped[datetime | None]
    last_contract_time: Mapped[datetime | None]
    pool_time: Mapped[datetime | None]
    allocate_due: Mapped[bool] = mapped_column(Boolean, server_default="false")
    lock_expire_time: Mapped[datetime | None]
    warned_time: Mapped[datetime | None]
    warn_due_at: Mapped[datetime | None]
    reclaim_due_at: Mapped[datetime | None]
    rule_version: Mapped[int] = mapped_column(BigInteger)
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)
    # The tenant's own fields, by key: see the kernel's fields.
    custom: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    category_id: Mapped[str | None] = mapped_column(RecordId)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    hot: Mapped[bool] = mapped_column(server_default="false")
    # A dealer sells to others: those name it.
    dealer: Mapped[bool] = mapped_column(server_default="false")
    dealer_id: Mapped[str | None] = mapped_column(RecordId)
    parent_id: Mapped[str | None] = mapped_column(RecordId)
    finance: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    # What the quick search goes by. The database copies the pieces to where they are looked for: `CustomerSearch`.
    search_name: Mapped[str] = mapped_column(default=_of_name(fold), server_default="")
    initials: Mapped[str] = mapped_column(default=_of_name(initials), server_default="")
    pieces: Mapped[list[str]] = mapped_column(
        ARRAY(Text), default=_of_name(name_pieces), server_default="{}", deferred=True
    )
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "pool_id"], ["customers.pool.tenant_id", "customers.pool.pool_id"]
        ),
        # A list of what is still to be put in would be emptied by somebody's claim, which waited for all of it.
        Index(
            "ix_customer_custom",
            "custom",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
            postgresql_ops={"custom": "jsonb_path_ops"},
        ),
        Index("ix_customer_initials", "tenant_id", "initials", "customer_id"),
        Index(
            "ix_customer_evidence",
            "tenant_id",
            text("COALESCE(last_evidence_time, '1970-01-01 00:00:00+00'::timestamp with time zone)"),
            "customer_id",
        ),
        Index("ix_customer_parent", "tenant_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_customer_dealer", "tenant_id", "dealer_id", postgresql_where=text("dealer_id IS NOT NULL")),
        Index(
            "ix_customer_category",
            "tenant_id",
            "category_id",
            "create_time",
            postgresql_where=text("category_id IS NOT NULL"),
        ),
        Index("ix_customer_hot", "tenant_id", "create_time", "customer_id", postgresql_where=text("hot")),
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
        Index(
            "ix_customer_pool_facets",
            "tenant_id",
            "pool_id",
            "level",
            "region",
            "create_time",
            "customer_id",
            postgresql_where=text("owner_id IS NULL AND state = 'active'"),
        ),
        Index("ix_customer_allocate", "tenant_id", "pool_id", postgresql_where=text("allocate_due")),
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


class CustomerSearch(Base):
    """The pieces of a customer's name, as the database copies them from it: see the migration customers_0009.

    Beside the customer, for each new version of a row takes an entry for every piece: a change of the owner wrote
    forty of them, and now none.
    """

    __tablename__ = "customer_search"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    pieces: Mapped[list[str]] = mapped_column(ARRAY(Text))
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"],
            ["customers.customer.tenant_id", "customers.customer.customer_id"],
            ondelete="CASCADE",
        ),
        # What a statement brings is put in together at its end: see the migration customers_0011.
        Index(
            "ix_customer_search_pieces",
            "pieces",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "on"},
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
    address: Mapped[str] = mapped_column(server_default="")
    account: Mapped[str] = mapped_column(server_default="")
    birthday: Mapped[date | None]
    hobbies: Mapped[str] = mapped_column(server_default="")
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        Index("ix_contact_customer", "tenant_id", "customer_id"),
        Index("ix_contact_name", "tenant_id", "name", postgresql_ops={"name": "text_pattern_ops"}),
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
    # Last digits first, for who remembers only those. A column, for behind the wall between tenants an index over a
    # function is not used: it might tell what it was given.
    tail: Mapped[str] = mapped_column(Computed("reverse(e164)", persisted=True), deferred=True)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["customers.customer.tenant_id", "customers.customer.customer_id"]
        ),
        ForeignKeyConstraint(
            ["tenant_id", "contact_id"], ["customers.contact.tenant_id", "customers.contact.contact_id"]
        ),
        Index("ix_phone_e164", "tenant_id", "e164"),
        Index("ix_phone_customer", "tenant_id", "customer_id"),
        Index("ix_phone_tail", "tenant_id", "tail", postgresql_ops={"tail": "text_pattern_ops"}),
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
    """A row of the ledger, append-only. sequence: order of a customer's rows. inputs: what the rule decided on.

    batch_id: the same for all rows of one call, so that claim requests can be counted.
    """

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
    batch_id: Mapped[str | None] = mapped_column(RecordId)
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


class Staff(Base):
    """A person as identity told last. regions: departments that are named as the person's regions."""

    __tablename__ = "staff"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    person_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    active: Mapped[bool] = mapped_column(Boolean)
    department_path: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    region_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    version: Mapped[int] = mapped_column(BigInteger)


class OwnerCap(Base):
    """A cap on how many customers somebody may own; see the kernel's Cap. adjustment: how it changes by itself."""

    __tablename__ = "owner_cap"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    cap_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    name: Mapped[str]
    person_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    department_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    regions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    levels: Mapped[list[str]] = mapped_column(ARRAY(Text))
    most: Mapped[int] = mapped_column(Integer)
    without_contracted: Mapped[bool] = mapped_column(Boolean)
    without_business_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    adjustment: Mapped[dict[str, Any]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)


class CapChange(Base):
    """An automatic change of a cap for a person, append-only; the last one holds. owned, contracted: why."""

    __tablename__ = "cap_change"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    change_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    cap_id: Mapped[str] = mapped_column(RecordId)
    person_id: Mapped[str] = mapped_column(RecordId)
    from_most: Mapped[int] = mapped_column(Integer)
    to_most: Mapped[int] = mapped_column(Integer)
    owned: Mapped[int] = mapped_column(Integer)
    contracted: Mapped[int] = mapped_column(Integer)
    create_time: Mapped[datetime]
    __table_args__ = (Index("ix_cap_change_last", "tenant_id", "person_id", "cap_id", "sequence"),)


class AllocationRule(Base):
    """How customers that come into a pool get an owner. turn: how many it has allocated."""

    __tablename__ = "allocation_rule"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    rule_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    name: Mapped[str]
    pool_id: Mapped[str] = mapped_column(RecordId)
    position: Mapped[int] = mapped_column(Integer)
    regions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    levels: Mapped[list[str]] = mapped_column(ARRAY(Text))
    least_loaded: Mapped[bool] = mapped_column(Boolean)
    former_owner_first: Mapped[bool] = mapped_column(Boolean)
    person_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    turn: Mapped[int] = mapped_column(BigInteger, server_default="0")
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        ForeignKeyConstraint(
            ["tenant_id", "pool_id"], ["customers.pool.tenant_id", "customers.pool.pool_id"]
        ),
    )


class HandOver(Base):
    """A leaver's customers on their way to others. pool_id: where what fits nobody goes, NULL: it stays.

    moved, pooled, refused: how many went to others, into the pool, and fitted nobody. end_time: NULL while it runs.
    """

    __tablename__ = "hand_over"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    hand_over_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    from_person_id: Mapped[str] = mapped_column(RecordId)
    to_person_ids: Mapped[list[str]] = mapped_column(ARRAY(RecordId))
    to_department_paths: Mapped[list[str]] = mapped_column(ARRAY(Text))
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    reason: Mapped[str]
    actor_id: Mapped[str] = mapped_column(RecordId)
    state: Mapped[str]
    moved: Mapped[int] = mapped_column(Integer)
    pooled: Mapped[int] = mapped_column(Integer)
    create_time: Mapped[datetime]
    from_department_path: Mapped[str] = mapped_column(server_default="")
    refused: Mapped[int] = mapped_column(Integer, server_default="0")
    end_time: Mapped[datetime | None]
    __table_args__ = (Index("ix_hand_over_newest", "tenant_id", "create_time", "hand_over_id"),)


class HandOverItem(Base):
    """What a hand-over did with a customer. refusal: the reason why it stayed, "" where it went."""

    __tablename__ = "hand_over_item"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    hand_over_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    customer_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    to_person_id: Mapped[str | None] = mapped_column(RecordId)
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    refusal: Mapped[str]
    create_time: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "hand_over_id"],
            ["customers.hand_over.tenant_id", "customers.hand_over.hand_over_id"],
        ),
        Index("ix_hand_over_item_order", "tenant_id", "hand_over_id", "create_time", "customer_id"),
    )


class EvidenceSource(Base):
    """How far another service has told us of evidence. through_time: all from before has arrived."""

    __tablename__ = "evidence_source"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    asked_time: Mapped[datetime]
    through_time: Mapped[datetime | None]


class ReservationOutcome(Base):
    """What became of a key reservation: its rows were written, or never will be."""

    __tablename__ = "reservation_outcome"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    reservation_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    outcome: Mapped[str]
    create_time: Mapped[datetime]
