"""Tables of the calendar and of who is there."""

import datetime as dt
from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Date,
    ForeignKey,
    Index,
    SmallInteger,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.identity.store.tables import Base


class Calendar(Base):
    """When a tenant works: weekdays from 1 for Monday, minutes after midnight in China. Without a row: the default."""

    __tablename__ = "calendar"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    weekdays: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    start_minute: Mapped[int] = mapped_column(SmallInteger)
    end_minute: Mapped[int] = mapped_column(SmallInteger)
    version: Mapped[int] = mapped_column(BigInteger)


class CalendarDay(Base):
    """A day that differs from the week."""

    __tablename__ = "calendar_day"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    day: Mapped[dt.date] = mapped_column(Date, primary_key=True)
    working: Mapped[bool] = mapped_column(Boolean)
    name: Mapped[str]


class Shift(Base):
    """Hours that people are set for; one that is gone stays for the days it was set for."""

    __tablename__ = "shift"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    name: Mapped[str]
    start_minute: Mapped[int] = mapped_column(SmallInteger)
    end_minute: Mapped[int] = mapped_column(SmallInteger)
    active: Mapped[bool] = mapped_column(Boolean)
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        Index("uq_shift_name", "tenant_id", "name", unique=True, postgresql_where=text("active")),
    )


class Duty(Base):
    """What was set for somebody's day: a shift, or a day off."""

    __tablename__ = "duty"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    person_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("identity.person.id"), primary_key=True
    )
    day: Mapped[dt.date] = mapped_column(Date, primary_key=True)
    shift_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False), ForeignKey("identity.shift.id"))
    __table_args__ = (Index("ix_duty_shift", "tenant_id", "shift_id", "day"),)


class Leave(Base):
    """A time that somebody is away; creator_id: who noted it, the person itself or a manager."""

    __tablename__ = "leave"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), ForeignKey("identity.person.id"))
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    kind: Mapped[str]
    reason: Mapped[str]
    creator_id: Mapped[str]
    create_time: Mapped[datetime]
    cancel_time: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_leave_person", "tenant_id", "person_id", "end_time"),
        Index("ix_leave_time", "tenant_id", "end_time"),
    )
