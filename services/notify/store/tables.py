"""Notify's tables."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Index, Integer, Text, UniqueConstraint, Uuid, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata


class Base(DeclarativeBase):
    """Base of notify's tables."""

    metadata = service_metadata("notify")
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
    }


class Tenant(Base):
    """A tenant's name, as SMS are signed with it."""

    __tablename__ = "tenant"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    name: Mapped[str]


class Message(Base):
    """A message to one person, in both languages. The id is derived from its cause, so a repeat finds it."""

    __tablename__ = "message"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    kind: Mapped[str]
    title_zh: Mapped[str]
    text_zh: Mapped[str]
    title_en: Mapped[str]
    text_en: Mapped[str]
    subject_type: Mapped[str]
    subject_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    read_time: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_message_person", "tenant_id", "person_id", "create_time", "id"),
        Index("ix_message_unread", "tenant_id", "person_id", postgresql_where=text("read_time IS NULL")),
    )


class Reminder(Base):
    """A reminder about an order; its id is the id of its SMS too."""

    __tablename__ = "reminder"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    subject_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    number: Mapped[str]
    title: Mapped[str]
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    due_time: Mapped[datetime]
    state: Mapped[str]
    # When a sweep looks at it next: the due time, later after tries that failed.
    attempt_time: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    # The SMS, fixed before it is handed over: a repeat must say the same.
    sms_text: Mapped[str]
    # Version of the last that was heard of the SMS.
    sms_version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    detail: Mapped[str]
    create_time: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("tenant_id", "subject_id"),
        Index(
            "ix_reminder_attempt",
            "tenant_id",
            "attempt_time",
            postgresql_where=text("state IN ('pending', 'sending')"),
        ),
    )
