"""Numbers that were shown to somebody who asked: what the daily budget is counted from."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from services.customers.store.tables import Base, RecordId

__all__ = ["Base", "Reveal"]


class Reveal(Base):
    """A number that a person revealed; the audit in identity holds the reason."""

    __tablename__ = "reveal"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    reveal_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    person_id: Mapped[str] = mapped_column(RecordId)
    phone_id: Mapped[str] = mapped_column(RecordId)
    create_time: Mapped[datetime]
    __table_args__ = (Index("ix_reveal_person", "tenant_id", "person_id", "create_time"),)
