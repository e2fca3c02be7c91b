"""Write what a lead's conversion makes: a customer and a contact, or a contact of an existing customer."""

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.customers.domain.customers import Cause, ContactDraft, CustomerDraft, Owner, check_active
from services.customers.store.ledger import Change, change_one, lock_customers
from services.customers.store.merge_tables import MOVED
from services.customers.usecases.create import add_contact, add_customer
from services.customers.usecases.reservations import write_under


def create_for_conversion(
    tx: Transaction, owner: Owner, draft: CustomerDraft, reservation_id: str, *, create_customer: bool
) -> None:
    """Write a conversion's rows at once; the keys are reserved.

    draft: with create_customer the new customer, else the id of the existing one; its contacts are new. Raises
    RuleViolation RESERVATION_CANCELLED, OWNER_CAP_REACHED (F29) or CUSTOMER_NOT_ACTIVE, NotFound CUSTOMER_NOT_FOUND.
    """
    if reservation_id:
        write_under(tx, reservation_id)
    if create_customer:
        add_customer(tx, draft, reservation_id, owner.person_id)
        change_one(tx, draft.id, Change(Cause.CONVERT, owner), lambda _: None)
        return
    found = lock_customers(tx, [MOVED.current(tx, draft.id, hold=True)])
    if not found:
        raise not_found("customer", "客户", draft.id)
    (customer,) = found
    check_active(customer.state)
    for contact in draft.contacts:
        _add(tx, customer.customer_id, contact)
        customer.version += 1
        tx.emit(
            "contact_created",
            customer.customer_id,
            customer.version,
            {
                "customerId": customer.customer_id,
                "contactId": contact.id,
                "reservationId": reservation_id,
            },
        )


def _add(tx: Transaction, customer_id: str, contact: ContactDraft) -> None:
    # Behind those that came with the form.
    add_contact(tx, customer_id, contact, position=1000)
