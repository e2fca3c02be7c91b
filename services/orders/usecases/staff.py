"""What becomes of orders when somebody of the staff moves."""

from sqlalchemy import update

from services.chassis.db import Transaction
from services.orders.store.tables import Order


def move_person(tx: Transaction, person_id: str, department_path: str) -> None:
    """Let a person's orders follow into the department (F249)."""
    tx.session.execute(
        update(Order)
        .where(
            Order.tenant_id == tx.tenant.id,
            Order.owner_id == person_id,
            Order.owner_department_path != department_path,
        )
        .values(owner_department_path=department_path)
    )
