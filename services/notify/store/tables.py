"""Notify's tables."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Float, Index, Integer, Text, UniqueConstraint, Uuid
from sqlalchemy import text as condition
from sqlalchemy.dialects.postgresql import JSONB
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
    """A tenant's name, as SMS are signed with it, and its rules for reminders."""

    __tablename__ = "tenant"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    name: Mapped[str]
    # See `domain.contacts.ReminderPolicy`.
    daily_minute: Mapped[int] = mapped_column(Integer, server_default="510")
    order_days: Mapped[int] = mapped_column(Integer, server_default="90")
    silence_days: Mapped[int] = mapped_column(Integer, server_default="180")
    # When everybody gets the lists of the day next.
    daily_time: Mapped[datetime]


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
        Index("ix_message_unread", "tenant_id", "person_id", postgresql_where=condition("read_time IS NULL")),
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
    # When the managers hear of it if the order is still unhandled; null: not or no more.
    escalate_time: Mapped[datetime | None]
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
            postgresql_where=condition("state IN ('pending', 'sending')"),
        ),
        Index(
            "ix_reminder_escalate",
            "tenant_id",
            "escalate_time",
            postgresql_where=condition("escalate_time IS NOT NULL"),
        ),
    )


class Person(Base):
    """Somebody on the staff, as identity told of them last: who hears of announcements and reports."""

    __tablename__ = "person"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(Boolean)
    rights: Mapped[list[str]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (Index("ix_person_tenant_id_active", "tenant_id", "active"),)


class Preference(Base):
    """How a person wants to be told; see `domain.notices.Preferences`."""

    __tablename__ = "preference"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    channels: Mapped[dict[str, Any]] = mapped_column(JSONB)
    digest_minute: Mapped[int | None] = mapped_column(Integer)
    quiet_from_minute: Mapped[int] = mapped_column(Integer)
    quiet_until_minute: Mapped[int] = mapped_column(Integer)
    mail: Mapped[str]
    locale: Mapped[str]


class Robot(Base):
    """A group's robot at DingTalk or WeCom, and the kinds of messages it tells the group."""

    __tablename__ = "robot"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    channel: Mapped[str]
    name: Mapped[str]
    # The address holds the key; it is never shown again.
    url: Mapped[str]
    secret: Mapped[str]
    kinds: Mapped[list[str]] = mapped_column(JSONB)
    create_time: Mapped[datetime]
    __table_args__ = (Index("ix_robot_tenant_id", "tenant_id"),)


class Delivery(Base):
    """A message on one channel, with its own fate; of an SMS the id is the SMS's too."""

    __tablename__ = "delivery"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    message_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    # Whom the message is for; whoever hears it from a robot hears it beside that person.
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    robot_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    channel: Mapped[str]
    # Goes out together with the others of this person and channel.
    digest: Mapped[bool] = mapped_column(Boolean)
    title: Mapped[str]
    text: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    # When a sweep looks at it next.
    attempt_time: Mapped[datetime]
    sms_version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    detail: Mapped[str]
    create_time: Mapped[datetime]
    done_time: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_delivery_message", "tenant_id", "message_id"),
        Index(
            "ix_delivery_attempt",
            "tenant_id",
            "attempt_time",
            postgresql_where=condition("state IN ('pending', 'sending')"),
        ),
    )


class Template(Base):
    """A tenant's own words for a kind of message."""

    __tablename__ = "template"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    title_zh: Mapped[str]
    text_zh: Mapped[str]
    title_en: Mapped[str]
    text_en: Mapped[str]


class FollowUpReminder(Base):
    """A reminder that somebody set: a time, a frequency, and what it is about (F191, F192, F206)."""

    __tablename__ = "follow_up_reminder"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    title: Mapped[str]
    # customer, lead, order, or empty: a plain entry of the schedule.
    subject_type: Mapped[str]
    subject_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    # As the person who set it saw it.
    subject_name: Mapped[str]
    source: Mapped[str]
    # active, done.
    state: Mapped[str]
    first_time: Mapped[datetime]
    next_time: Mapped[datetime | None]
    interval_minutes: Mapped[int] = mapped_column(Integer)
    until_time: Mapped[datetime | None]
    fired_count: Mapped[int] = mapped_column(Integer, server_default="0")
    create_time: Mapped[datetime]
    done_time: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_follow_up_reminder_person", "tenant_id", "person_id", "create_time", "id"),
        Index("ix_follow_up_reminder_subject", "tenant_id", "subject_id"),
        Index(
            "ix_follow_up_reminder_next",
            "tenant_id",
            "next_time",
            postgresql_where=condition("next_time IS NOT NULL"),
        ),
    )


class Cadence(Base):
    """How often a customer is usually followed up, and when it is overdue by that (F193)."""

    __tablename__ = "cadence"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    customer_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    name: Mapped[str]
    # Null in a pool: nobody to remind.
    owner_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    last_time: Mapped[datetime]
    last_text: Mapped[str]
    # Seconds between the last follow-ups.
    gaps_s: Mapped[list[float]] = mapped_column(JSONB)
    # Null: reminded, or too little is known.
    due_time: Mapped[datetime | None]
    # The same, and stays when the owner was reminded: the customer is on the list until it is followed up.
    overdue_time: Mapped[datetime | None]
    # Of the customer, as its ownership was heard of last.
    version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    __table_args__ = (
        Index("ix_cadence_due", "tenant_id", "due_time", postgresql_where=condition("due_time IS NOT NULL")),
        Index("ix_cadence_owner", "tenant_id", "owner_id", "overdue_time"),
    )


class Plan(Base):
    """A follow-up that somebody intends and has not done, as customers told of it (F202)."""

    __tablename__ = "plan"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    plan_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    customer_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    name: Mapped[str]
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    text: Mapped[str]
    due_time: Mapped[datetime]
    # Completed, or not the person's any more; kept, as that can be heard of before the making.
    done: Mapped[bool] = mapped_column(Boolean)
    __table_args__ = (
        Index("ix_plan_person", "tenant_id", "person_id", "due_time", postgresql_where=condition("NOT done")),
        Index("ix_plan_customer", "tenant_id", "customer_id"),
    )


class Dealing(Base):
    """When a customer ordered and had to do with us last, and whether its owner was told of the time since (F203)."""

    __tablename__ = "dealing"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    customer_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    name: Mapped[str]
    # Null in a pool: nobody to remind.
    owner_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    last_order_time: Mapped[datetime | None]
    # Seconds between the last orders, and how long after one the next is overdue; null: too little is known.
    order_gaps_s: Mapped[list[float]] = mapped_column(JSONB)
    order_overdue_s: Mapped[float | None] = mapped_column(Float)
    # From when on the time without an order, and that without anything, counts: the last one, or when its owner got it.
    order_base_time: Mapped[datetime]
    silence_base_time: Mapped[datetime]
    order_told: Mapped[bool] = mapped_column(Boolean)
    silence_told: Mapped[bool] = mapped_column(Boolean)
    # Of the customer, as its ownership was heard of last.
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        Index(
            "ix_dealing_owner", "tenant_id", "owner_id", postgresql_where=condition("owner_id IS NOT NULL")
        ),
    )


class Announcement(Base):
    """Something said to everybody."""

    __tablename__ = "announcement"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    author_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    title: Mapped[str]
    text: Mapped[str]
    create_time: Mapped[datetime]
    __table_args__ = (Index("ix_announcement_tenant_id_create_time_id", "tenant_id", "create_time", "id"),)


class BulkMail(Base):
    """One mail to many customers (F200)."""

    __tablename__ = "bulk_mail"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    # Who wrote it; the list of customers is as that person sees it.
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    subject: Mapped[str]
    text: Mapped[str]
    selection: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # A `domain.bulk_mail.BulkMailState`.
    state: Mapped[str]
    # Where staging goes on.
    page_token: Mapped[str]
    customer_count: Mapped[int] = mapped_column(Integer)
    duplicate_count: Mapped[int] = mapped_column(Integer)
    without_address_count: Mapped[int] = mapped_column(Integer)
    start_time: Mapped[datetime | None]
    create_time: Mapped[datetime]
    end_time: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_bulk_mail_person", "tenant_id", "person_id", "create_time", "id"),
        Index("ix_bulk_mail_running", "tenant_id", postgresql_where=condition("state = 'running'")),
    )


class MailRecipient(Base):
    """An address that gets a bulk mail, with its own fate; in lower case, once in each."""

    __tablename__ = "mail_recipient"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    bulk_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    address: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    customer_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    customer_name: Mapped[str]
    # A `domain.bulk_mail.RecipientState`.
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(Integer)
    # When a sweep looks at it next.
    attempt_time: Mapped[datetime]
    detail: Mapped[str]
    done_time: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("bulk_id", "address"),
        Index("ix_mail_recipient_bulk", "bulk_id", "position", "id"),
        Index(
            "ix_mail_recipient_attempt",
            "tenant_id",
            "attempt_time",
            postgresql_where=condition("state IN ('waiting', 'sending')"),
        ),
    )


class MailRefusal(Base):
    """An address that wants no bulk mail, and who noted that."""

    __tablename__ = "mail_refusal"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    time: Mapped[datetime]
