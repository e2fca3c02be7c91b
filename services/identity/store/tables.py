"""Identity's tables. `tenant` is the directory of all tenants and used in the home database only."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata


class Base(DeclarativeBase):
    """Base of identity's tables."""

    metadata = service_metadata("identity")
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
    }


class Tenant(Base):
    """A tenant: its short name for the sign-in page and the database that holds its rows."""

    __tablename__ = "tenant"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    database: Mapped[str]
    create_time: Mapped[datetime]


class Department(Base):
    """A node of a tenant's tree. path: ids from the root down to itself, with "/" behind each.

    position: among its siblings, smallest first. posts: names of the posts that its people can hold.
    """

    __tablename__ = "department"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    parent_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False), ForeignKey("identity.department.id"))
    name: Mapped[str]
    path: Mapped[str]
    # No foreign key: a head may be of any department, and each of the two may go first.
    head_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False), index=True)
    position: Mapped[int] = mapped_column(Integer, server_default="0")
    posts: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    version: Mapped[int] = mapped_column(BigInteger, server_default="1")
    __table_args__ = (
        UniqueConstraint("tenant_id", "path"),
        # Siblings have different names, so that a person can say which one is meant.
        UniqueConstraint("tenant_id", "parent_id", "name"),
    )


class Role(Base):
    """A named set of rights; "*" among them stands for all, of releases to come too."""

    __tablename__ = "role"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    scope: Mapped[str]
    rights: Mapped[list[str]] = mapped_column(ARRAY(Text))
    version: Mapped[int] = mapped_column(BigInteger, server_default="1")


class Person(Base):
    """A member of staff.

    epoch: grows when what the person may do changes, at epoch_time, so that older tokens are refused.
    region_ids: departments whose records the person sees by the scope regions. leave_time: when the person left.
    """

    __tablename__ = "person"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    login: Mapped[str]
    name: Mapped[str]
    # E.164, "" for none.
    mobile: Mapped[str]
    extension: Mapped[str]
    department_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("identity.department.id"), index=True
    )
    active: Mapped[bool] = mapped_column(Boolean)
    password_hash: Mapped[str]
    # Wrong passwords in a row, and until when no password is accepted.
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    locked_until: Mapped[datetime | None]
    epoch: Mapped[int] = mapped_column(BigInteger)
    epoch_time: Mapped[datetime | None] = mapped_column(index=True)
    post: Mapped[str] = mapped_column(server_default="")
    region_ids: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)), server_default="{}")
    leave_time: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(BigInteger)
    # Number of the last change of the person's duties and leave.
    schedule_version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    create_time: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("tenant_id", "login"),
        Index(
            "uq_person_extension",
            "tenant_id",
            "extension",
            unique=True,
            postgresql_where=text("extension <> ''"),
        ),
    )


class PersonRole(Base):
    """A role that a person holds."""

    __tablename__ = "person_role"
    person_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("identity.person.id"), primary_key=True
    )
    role_code: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "role_code"], ["identity.role.tenant_id", "identity.role.code"]),
        Index(None, "tenant_id", "role_code"),
    )


class Session(Base):
    """A person's session, or an outside system's key; only the hash of its secret is kept.

    person_id: whose session, or who made the key. rights: what a key may do, empty for a session.
    """

    __tablename__ = "session"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    # session or api_key.
    kind: Mapped[str]
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), ForeignKey("identity.person.id"), index=True)
    name: Mapped[str]
    rights: Mapped[list[str]] = mapped_column(ARRAY(Text))
    create_time: Mapped[datetime]
    # A key has no end of its own.
    expire_time: Mapped[datetime | None]


class Audit(Base):
    """Who did or learned something that must be accounted for; append-only, by a trigger."""

    __tablename__ = "audit"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    # The service in which it happened, or on whose request ("" for identity itself in rows of the first release), and
    # the person who did it or on whose behalf, "" for the system.
    service: Mapped[str]
    actor_id: Mapped[str]
    # What, in the past tense: signed_in, mobile_resolved, number_revealed, ...
    action: Mapped[str]
    subject_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    details: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    __table_args__ = (
        Index(None, "tenant_id", "create_time"),
        Index("ix_audit_subject_id", "tenant_id", "subject_id", "create_time"),
        Index("ix_audit_actor_id", "tenant_id", "actor_id", "create_time"),
    )
