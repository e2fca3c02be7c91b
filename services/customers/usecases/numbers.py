"""Numbers in full, for services only."""

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.customers.domain.customers import CustomerState
from services.customers.store.tables import Customer, Phone


def resolve_number(tx: Transaction, customer_id: str, phone_id: str) -> Phone:
    """Return a number of an active customer or of its contacts, and account for it.

    Raises NotFound PHONE_NOT_FOUND.
    """
    phone = tx.session.scalar(
        select(Phone)
        .join(Customer, (Customer.tenant_id == Phone.tenant_id) & (Customer.customer_id == Phone.customer_id))
        .where(
            Phone.tenant_id == tx.tenant.id,
            Phone.customer_id == customer_id,
            Phone.phone_id == phone_id,
            Customer.state == CustomerState.ACTIVE.value,
        )
    )
    if phone is None:
        raise not_found("phone", "号码", phone_id)
    tx.audit("number_resolved", customer_id, {"phoneId": phone_id})
    return phone
