"""What becomes of orders, contracts and quotes when somebody of the staff moves."""

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.orders.store.tables import Contract, Order, Quote, Staff


def move_person(tx: Transaction, person_id: str, department_path: str, version: int) -> None:
    """Let a person's orders, contracts and quotes follow into the department (F249), and remember it for those to come.

    version: of the person; an older word is ignored.
    """
    values = {"department_path": department_path, "version": version}
    told = tx.session.execute(
        insert(Staff)
        .values(tenant_id=tx.tenant.id, person_id=person_id, **values)
        .on_conflict_do_update(
            index_elements=[Staff.tenant_id, Staff.person_id], set_=values, where=Staff.version <= version
        )
        .returning(Staff.person_id)
    )
    if told.first() is None:
        return
    for table in (Order, Contract, Quote):
        tx.session.execute(
            update(table)
            .where(
                table.tenant_id == tx.tenant.id,
                table.owner_id == person_id,
                table.owner_department_path != department_path,
            )
            .values(owner_department_path=department_path)
        )
