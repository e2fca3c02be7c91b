"""Merges of customers, and which rows they moved."""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Index, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.moves import MovedRows, Place
from services.customers.store.record_tables import Address, Plan, TimelineEntry
from services.customers.store.tables import Base, Contact, Customer, FollowUp, Phone, RecordId


class Merge(Base):
    """Two customers that became one. taken: fields of the merged one that the survivor has now.

    survivor_before, survivor_after: those fields as they were and as the merge left them. merged_before: owner and pool
    of the merged one. followed: services that moved their rows, or once it is taken back, moved them back.
    """

    __tablename__ = "merge"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    merge_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    survivor_id: Mapped[str] = mapped_column(RecordId)
    merged_id: Mapped[str] = mapped_column(RecordId)
    merged_name: Mapped[str]
    survivor_name: Mapped[str]
    state: Mapped[str]
    taken: Mapped[list[str]] = mapped_column(ARRAY(Text))
    survivor_before: Mapped[dict[str, Any]] = mapped_column(JSONB)
    survivor_after: Mapped[dict[str, Any]] = mapped_column(JSONB)
    merged_before: Mapped[dict[str, Any]] = mapped_column(JSONB)
    followed: Mapped[list[str]] = mapped_column(ARRAY(Text))
    actor_id: Mapped[str] = mapped_column(RecordId)
    undo_actor_id: Mapped[str | None] = mapped_column(RecordId)
    create_time: Mapped[datetime]
    undo_time: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        Index("ix_merge_newest", "tenant_id", "create_time", "merge_id"),
        Index("ix_merge_merged", "tenant_id", "merged_id"),
    )


TIMELINE = Place(Base.metadata.tables[f"customers.{TimelineEntry.__tablename__}"], "entry_id")
MOVED = MovedRows(
    Base.metadata,
    [
        TIMELINE,
        *(
            Place(Base.metadata.tables[f"customers.{table.__tablename__}"], key)
            for table, key in (
                (Contact, "contact_id"),
                (Phone, "phone_id"),
                (FollowUp, "follow_up_id"),
                (Plan, "plan_id"),
                (Address, "address_id"),
            )
        ),
        *(
            Place(Base.metadata.tables[f"customers.{Customer.__tablename__}"], "customer_id", parent)
            for parent in ("parent_id", "dealer_id")
        ),
    ],
)
