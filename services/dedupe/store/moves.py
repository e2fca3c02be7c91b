"""Where rows name a customer: they follow when two become one, and go back when that is undone (F36)."""

from services.chassis.moves import MovedRows, Place
from services.dedupe.store.tables import Base, MatchRecord, Project

# Keys have no id of their own: they follow by their subject, see `usecases.merges`.
MOVED = MovedRows(
    Base.metadata,
    [
        Place(Base.metadata.tables[f"dedupe.{MatchRecord.__tablename__}"], "subject_id"),
        Place(Base.metadata.tables[f"dedupe.{Project.__tablename__}"], "project_id"),
    ],
)
