"""What becomes of customers when somebody of the staff moves."""

from sqlalchemy import and_, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.customers.domain.customers import CustomerState
from services.customers.store.ledger import lock_owner
from services.customers.store.tables import Customer, Staff


def save_person(tx: Transaction, person: Staff) -> None:
    """Keep who somebody is for pools and allocation; an older word is ignored."""
    values = {column.name: getattr(person, column.name) for column in Staff.__table__.columns}
    added = insert(Staff).values(values)
    tx.session.execute(
        added.on_conflict_do_update(
            index_elements=[Staff.tenant_id, Staff.person_id],
            set_=values,
            where=Staff.version < person.version,
        )
    )


def move_person(tx: Transaction, person_id: str, department_path: str) -> None:
    """Let a person's customers, and registrations that wait, follow into the department (F249)."""
    # The ledger's order of locks: behind a gain that is under way, then the customers by id.
    lock_owner(tx, person_id)
    waiting = and_(Customer.submitter_id == person_id, Customer.state == CustomerState.PENDING)
    left_behind = tx.session.scalars(
        select(Customer.customer_id)
        .where(
            Customer.tenant_id == tx.tenant.id,
            or_(Customer.owner_id == person_id, waiting),
            Customer.owner_department_path != department_path,
        )
        .order_by(Customer.customer_id)
        .with_for_update()
    ).all()
    tx.session.execute(
        update(Customer)
        .where(Customer.tenant_id == tx.tenant.id, Customer.customer_id.in_(left_behind))
        .values(owner_department_path=department_path)
    )
