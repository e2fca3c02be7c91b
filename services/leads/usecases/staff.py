"""What becomes of leads and opportunities when somebody of the staff moves."""

from sqlalchemy import update

from services.chassis.db import Transaction
from services.leads.store.tables import Lead, Opportunity


def move_person(tx: Transaction, person_id: str, department_path: str) -> None:
    """Let a person's leads and opportunities follow into the department (F249)."""
    # Leads first: a conversion locks its lead before it takes the path over to an opportunity.
    for table in (Lead, Opportunity):
        tx.session.execute(
            update(table)
            .where(
                table.tenant_id == tx.tenant.id,
                table.owner_id == person_id,
                table.owner_department_path != department_path,
            )
            .values(owner_department_path=department_path)
        )
