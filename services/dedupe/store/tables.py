"""Dedupe's tables. The primary key of `held_key` is what makes one of two simultaneous writers win."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Index, LargeBinary, Text, Uuid, text
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
    """A field that is unique in the tenant, or not while the rule is off."""

    __tablename__ = "rule"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    # Derived from the other three.
    rule_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    active: Mapped[bool]
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
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "reservation_id"],
            ["dedupe.reservation.tenant_id", "dedupe.reservation.reservation_id"],
        ),
        Index(None, "tenant_id", "reservation_id"),
    )
