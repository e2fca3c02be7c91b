"""What becomes of leads, opportunities and memberships of pools when somebody of the staff changes."""

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.leads.store.tables import Lead, Opportunity, Staff


def save_person(
    tx: Transaction, person_id: str, roles: Sequence[str], region_ids: Sequence[str], version: int
) -> None:
    """Keep somebody's roles and regions, by which pools name their members; an older word is ignored."""
    values = {"roles": roles, "region_ids": region_ids, "version": version}
    added = insert(Staff).values(tenant_id=tx.tenant.id, person_id=person_id, **values)
    tx.session.execute(
        added.on_conflict_do_update(
            index_elements=[Staff.tenant_id, Staff.person_id], set_=values, where=Staff.version < version
        )
    )


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
