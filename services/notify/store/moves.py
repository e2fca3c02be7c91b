"""Where rows name a customer: they follow when two become one, and go back when that is undone (F36)."""

from services.chassis.moves import MovedRows, Place
from services.notify.store.tables import Base, FollowUpReminder, Plan

MOVED = MovedRows(
    Base.metadata,
    [
        Place(Base.metadata.tables[f"notify.{FollowUpReminder.__tablename__}"], "id", "subject_id"),
        Place(Base.metadata.tables[f"notify.{Plan.__tablename__}"], "plan_id"),
    ],
)
