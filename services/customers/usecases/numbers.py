"""Numbers in full, for services only."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.customers.domain.customers import CustomerState
from services.customers.store.merge_tables import MOVED
from services.customers.store.tables import Contact, Customer, Phone
from services.customers.usecases.fields import definitions
from services.kernel.fields import FieldType
from services.kernel.phones import is_mobile


@dataclass(frozen=True)
class Mobile:
    """A mobile behind a record: E.164; the contact's name is empty for the customer's own number."""

    customer_id: str
    customer_name: str
    contact_name: str
    phone_id: str
    number: str


@dataclass(frozen=True)
class Mail:
    """A mail address in a customer's own fields."""

    customer_id: str
    customer_name: str
    address: str


def resolve_number(tx: Transaction, customer_id: str, phone_id: str) -> Phone:
    """Return a number of an active customer or of its contacts, and account for it.

    Raises NotFound PHONE_NOT_FOUND.
    """
    customer_id = MOVED.current(tx, customer_id)
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


def resolve_mobiles(tx: Transaction, customer_ids: Sequence[str]) -> list[Mobile]:
    """Return the mobiles of active customers and their contacts, and account for them.

    In the order of the customers; of each its own first, then its contacts' by their position.
    """
    found = tx.session.execute(
        select(
            Customer.customer_id,
            Customer.name,
            Contact.name.label("contact_name"),
            Phone.phone_id,
            Phone.e164,
        )
        .join(Phone, (Phone.tenant_id == Customer.tenant_id) & (Phone.customer_id == Customer.customer_id))
        .outerjoin(Contact, (Contact.tenant_id == Phone.tenant_id) & (Contact.contact_id == Phone.contact_id))
        .where(
            Customer.tenant_id == tx.tenant.id,
            Customer.customer_id.in_(customer_ids),
            Customer.state == CustomerState.ACTIVE.value,
        )
        .order_by(
            Phone.contact_id.is_not(None),
            Contact.position,
            Contact.create_time,
            Phone.position,
            Phone.phone_id,
        )
    )
    mobiles = defaultdict(list)
    for row in found:
        if is_mobile(row.e164):
            mobiles[row.customer_id].append(
                Mobile(row.customer_id, row.name, row.contact_name or "", row.phone_id, row.e164)
            )
    if mobiles:
        count = sum(len(each) for each in mobiles.values())
        tx.audit("numbers_resolved", "", {"customers": str(len(mobiles)), "numbers": str(count)})
    return [mobile for customer_id in customer_ids for mobile in mobiles.get(customer_id, ())]


def resolve_mails(tx: Transaction, customer_ids: Sequence[str]) -> list[Mail]:
    """Return the addresses in the fields of type email of active customers, and account for them.

    In the order of the customers; of each in the order of its fields.
    """
    keys = [each.key for each in definitions(tx) if each.type == FieldType.EMAIL]
    found = tx.session.execute(
        select(Customer.customer_id, Customer.name, Customer.custom).where(
            Customer.tenant_id == tx.tenant.id,
            Customer.customer_id.in_(customer_ids),
            Customer.state == CustomerState.ACTIVE.value,
        )
    )
    mails = {
        row.customer_id: [
            Mail(row.customer_id, row.name, row.custom[key]) for key in keys if row.custom.get(key)
        ]
        for row in found
    }
    count = sum(len(each) for each in mails.values())
    if count:
        tx.audit("mails_resolved", "", {"customers": str(len(mails)), "mails": str(count)})
    return [mail for customer_id in customer_ids for mail in mails.get(customer_id, ())]
