"""Where rows name a customer: they follow when two become one, and go back when that is undone (F36)."""

from services.chassis.moves import MovedRows, Place
from services.leads.store.tables import Base, Conversion, Lead, Opportunity

LEADS, CONVERSIONS, OPPORTUNITIES = (
    Place(Base.metadata.tables[f"leads.{Lead.__tablename__}"], "id"),
    Place(Base.metadata.tables[f"leads.{Conversion.__tablename__}"], "id", "chosen_customer_id"),
    Place(Base.metadata.tables[f"leads.{Opportunity.__tablename__}"], "id"),
)
MOVED = MovedRows(Base.metadata, [LEADS, CONVERSIONS, OPPORTUNITIES])
