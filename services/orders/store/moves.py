"""Where rows name a customer: they follow when two become one, and go back when that is undone (F36)."""

from services.chassis.moves import MovedRows, Place
from services.orders.store.tables import Base, Contract, Order, Quote

MOVED = MovedRows(
    Base.metadata,
    [
        Place(Base.metadata.tables[f"orders.{Order.__tablename__}"], "id"),
        Place(Base.metadata.tables[f"orders.{Contract.__tablename__}"], "id"),
        Place(Base.metadata.tables[f"orders.{Quote.__tablename__}"], "id"),
    ],
)
