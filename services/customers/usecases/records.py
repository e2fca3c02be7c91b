"""Edit what a customer's record holds: by its owner, by who may edit all of a scope, and never a number in place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, or_, select, text

from services.chassis.db import Transaction
from services.chassis.errors import Conflict, Forbidden, InvalidInput, RuleViolation, not_found
from services.chassis.ids import derive_id
from services.chassis.numbers import hide_numbers
from services.chassis.tokens import Caller
from services.customers.domain.actions import may_follow
from services.customers.domain.customers import ContactDraft, CustomerState, check_active, check_name
from services.customers.domain.search import found_by
from services.customers.store.ledger import lock_customers
from services.customers.store.record_tables import Address
from services.customers.store.rules import follow_edit
from services.customers.store.tables import Contact, Customer, Phone
from services.customers.usecases.categories import check_category
from services.customers.usecases.create import add_contact
from services.customers.usecases.fields import FieldObject, definitions, hold_values
from services.customers.usecases.reservations import write_under
from services.customers.usecases.timeline import note
from services.customers.usecases.views import facts_of, seen_customer
from services.kernel.fields import parse_values
from services.kernel.phones import PhoneNumber, kept

# Customers above each other.
DEEPEST = 10
MOST_ADDRESSES = 50
MOST_PHONES = 20
MOST_CONTACTS = 200


class AddressKind(StrEnum):
    """What an address is for (F41)."""

    VISIT = "visit"
    SHIP = "ship"
    SEND = "send"


@dataclass(frozen=True)
class AddressDraft:
    """An address of a form."""

    kind: AddressKind
    region: str
    detail: str
    recipient: str


@dataclass(frozen=True)
class CustomerEdit:
    """What shall change. columns: by name, of those that are simple; the others None for no change.

    values: of the tenant's own fields, as typed. dealer_id, parent_id, category_id: "" for none.
    """

    columns: dict[str, Any]
    values: dict[str, str] = field(default_factory=dict)
    category_id: str | None = None
    dealer_id: str | None = None
    parent_id: str | None = None
    addresses: tuple[AddressDraft, ...] | None = None


def editable(tx: Transaction, caller: Caller, customer_id: str) -> Customer:
    """Lock and return a customer that the caller may edit: an own one, or one of the scope (F33); never a pool's (F24).

    Raises NotFound CUSTOMER_NOT_FOUND, RuleViolation CUSTOMER_NOT_ACTIVE, Forbidden EDIT_FORBIDDEN.
    """
    locked = lock_customers(tx, [seen_customer(tx, caller, customer_id).customer_id])
    if not locked:
        raise not_found("customer", "客户", customer_id)
    customer = locked[0]
    check_active(customer.state)
    if not may_follow(facts_of(tx, caller, customer)):
        raise Forbidden(
            "EDIT_FORBIDDEN",
            "只有客户负责人及其上级可以编辑客户",
            "Only the customer's owner and superiors may edit it",
        )
    return customer


def update_customer(
    tx: Transaction, caller: Caller, customer_id: str, version: int, edit: CustomerEdit, reservation_id: str
) -> Customer:
    """Change what is named of a customer; raises as `editable`.

    version: the one that was seen, 0 for any; another one is Conflict CUSTOMER_CHANGED. reservation_id: of the keys of
    a new name, "" for none. Raises InvalidInput CATEGORY_UNKNOWN, DEALER_UNKNOWN, PARENT_UNKNOWN or below `values`,
    AlreadyExists FIELD_VALUE_TAKEN, RuleViolation PARENT_IN_ITSELF or PARENT_TOO_DEEP.
    """
    if edit.parent_id:
        _lock_parents(tx)
    customer = editable(tx, caller, customer_id)
    customer_id = customer.customer_id
    _check_version(customer, version)
    if reservation_id:
        write_under(tx, reservation_id)
    before = {name: getattr(customer, name) for name in edit.columns}
    for name, value in edit.columns.items():
        setattr(customer, name, kept(value, before[name]))
    if "name" in edit.columns:
        check_name(customer.name)
        for column, value in found_by(customer.name).items():
            setattr(customer, column, value)
    if any(name in before and before[name] != getattr(customer, name) for name in ("level", "business_type")):
        follow_edit(tx, customer)
    _link(tx, caller, customer, edit)
    own = dict(customer.custom)
    if edit.values:
        customer.custom = {**parse_values(definitions(tx), edit.values, "values", before=own)}
        hold_values(tx, FieldObject.CUSTOMER, customer_id, customer.custom, own)
    if edit.addresses is not None:
        _replace_addresses(tx, customer_id, edit.addresses)
    customer.version += 1
    changed = sorted(
        {name for name, value in before.items() if getattr(customer, name) != value}
        | {f"custom.{key}" for key in edit.values if own.get(key) != customer.custom.get(key)}
        | {
            name
            for name in ("category_id", "dealer_id", "parent_id", "addresses")
            if getattr(edit, name) is not None
        }
    )
    if changed:
        # Which fields, not what they hold: the timeline is read by more people than the numbers in it.
        note(tx, customer_id, "change", customer_id, {"fields": changed}, key=str(customer.version))
        tx.emit(
            "customer_changed", customer_id, customer.version, {"customerId": customer_id, "fields": changed}
        )
    return customer


def _check_version(customer: Customer, version: int) -> None:
    if version and version != customer.version:
        raise Conflict(
            "CUSTOMER_CHANGED", "客户已被他人修改，请刷新", "Somebody changed the customer meanwhile"
        )


def create_contact(
    tx: Transaction, caller: Caller, customer_id: str, draft: ContactDraft, reservation_id: str
) -> Customer:
    """Add a contact to a customer (F2, F3); raises as `editable`, and InvalidInput TOO_MANY."""
    customer = editable(tx, caller, customer_id)
    customer_id = customer.customer_id
    here = [Contact.tenant_id == tx.tenant.id, Contact.customer_id == customer_id]
    used = tx.session.scalar(select(func.count()).where(*here)) or 0
    if used >= MOST_CONTACTS:
        raise InvalidInput(
            "contact", "TOO_MANY", "最多{most}个联系人", "At most {most} contacts", most=MOST_CONTACTS
        )
    write_under(tx, reservation_id)
    add_contact(tx, customer_id, draft, used)
    customer.version += 1
    tx.emit(
        "contact_created",
        customer_id,
        customer.version,
        {"customerId": customer_id, "contactId": draft.id, "reservationId": reservation_id},
    )
    note(tx, customer_id, "change", draft.id, {"fields": ["contacts"]}, key=draft.id)
    return customer


def get_contact(tx: Transaction, contact_id: str) -> Contact:
    """Return a contact; raises NotFound CONTACT_NOT_FOUND."""
    contact = tx.session.get(Contact, (tx.tenant.id, contact_id))
    if contact is None:
        raise not_found("contact", "联系人", contact_id)
    return contact


def update_contact(
    tx: Transaction, caller: Caller, contact_id: str, version: int, columns: dict[str, str | date | None]
) -> Customer:
    """Change what is named of a contact (F72); raises NotFound CONTACT_NOT_FOUND, and as `editable`.

    version: the customer's that was seen, 0 for any; another one is Conflict CUSTOMER_CHANGED.
    """
    contact = get_contact(tx, contact_id)
    customer = editable(tx, caller, contact.customer_id)
    _check_version(customer, version)
    for name, value in columns.items():
        setattr(contact, name, kept(value, getattr(contact, name)))
    customer.version += 1
    note(tx, customer.customer_id, "change", contact_id, {"fields": ["contacts"]}, key=str(customer.version))
    return customer


def add_phone(
    tx: Transaction,
    caller: Caller,
    customer_id: str,
    contact_id: str,
    number: PhoneNumber,
    reservation_id: str,
) -> Customer:
    """Add a further number (F3, O8); raises as `editable`, InvalidInput TOO_MANY, NotFound CONTACT_NOT_FOUND."""
    customer = editable(tx, caller, customer_id)
    customer_id = customer.customer_id
    if contact_id and get_contact(tx, contact_id).customer_id != customer_id:
        raise not_found("contact", "联系人", contact_id)
    phones = tx.session.scalars(
        select(Phone).where(Phone.tenant_id == tx.tenant.id, Phone.customer_id == customer_id)
    ).all()
    mine = [phone for phone in phones if (phone.contact_id or "") == contact_id]
    if any((phone.e164, phone.extension) == (number.e164, number.extension) for phone in mine):
        return customer
    if len(mine) >= MOST_PHONES:
        raise InvalidInput(
            "number", "TOO_MANY", "最多{most}个号码", "At most {most} numbers", most=MOST_PHONES
        )
    write_under(tx, reservation_id)
    position = max((phone.position for phone in mine), default=-1) + 1
    tx.session.add(
        Phone(
            tenant_id=tx.tenant.id,
            phone_id=derive_id(reservation_id, "phone"),
            customer_id=customer_id,
            contact_id=contact_id or None,
            e164=number.e164,
            extension=number.extension,
            position=position,
        )
    )
    customer.version += 1
    note(tx, customer_id, "change", customer_id, {"fields": ["phones"]}, key=str(customer.version))
    return customer


def replace_phone(
    tx: Transaction, caller: Caller, phone_id: str, number: PhoneNumber, reservation_id: str
) -> Customer:
    """Put another number in a number's place (O8); raises NotFound PHONE_NOT_FOUND, and as `editable`."""
    phone = tx.session.get(Phone, (tx.tenant.id, phone_id))
    if phone is None:
        raise not_found("phone", "号码", phone_id)
    customer = editable(tx, caller, phone.customer_id)
    write_under(tx, reservation_id)
    phone.e164, phone.extension = number.e164, number.extension
    customer.version += 1
    note(tx, customer.customer_id, "change", phone_id, {"fields": ["phones"]}, key=str(customer.version))
    return customer


def addresses_of(tx: Transaction, customer_id: str) -> Sequence[Address]:
    """Return the addresses of a customer in the order of the form."""
    return tx.session.scalars(
        select(Address)
        .where(Address.tenant_id == tx.tenant.id, Address.customer_id == customer_id)
        .order_by(Address.position)
    ).all()


def _link(tx: Transaction, caller: Caller, customer: Customer, edit: CustomerEdit) -> None:
    if edit.category_id is not None:
        check_category(tx, edit.category_id)
        customer.category_id = edit.category_id or None
    if edit.dealer_id is not None:
        dealer = tx.session.get(Customer, (tx.tenant.id, edit.dealer_id)) if edit.dealer_id else None
        if edit.dealer_id and (dealer is None or not dealer.dealer or dealer is customer):
            raise InvalidInput("dealer_id", "DEALER_UNKNOWN", "所选客户不是经销商", "That is no dealer")
        customer.dealer_id = edit.dealer_id or None
    if edit.parent_id is not None:
        if edit.parent_id:
            _check_parent(tx, caller, customer, edit.parent_id)
        customer.parent_id = edit.parent_id or None


def _check_parent(tx: Transaction, caller: Caller, customer: Customer, parent_id: str) -> None:
    """Climb from the new parent: a customer that is met again would be above itself."""
    parent = seen_customer(tx, caller, parent_id)
    if parent.state != CustomerState.ACTIVE:
        raise InvalidInput("parent_id", "PARENT_UNKNOWN", "上级客户不可用", "That customer cannot be above")
    above: str | None = parent_id
    for _ in range(DEEPEST):
        if above is None:
            return
        if above == customer.customer_id:
            raise RuleViolation(
                "PARENT_IN_ITSELF", "上级客户不能是自身或其下级", "A customer cannot be below itself"
            )
        above = tx.session.scalar(
            select(Customer.parent_id).where(
                Customer.tenant_id == tx.tenant.id, Customer.customer_id == above
            )
        )
    raise RuleViolation(
        "PARENT_TOO_DEEP", "客户层级最多{most}级", "Customers have at most {most} levels", most=DEEPEST
    )


def _lock_parents(tx: Transaction) -> None:
    """One at a time puts customers above each other: two at once could close a circle."""
    tx.session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"parents {tx.tenant.id}", text("0"))))
    )


def _replace_addresses(tx: Transaction, customer_id: str, drafts: Sequence[AddressDraft]) -> None:
    # What was shown without its numbers stays as it was.
    known = [(row.region, row.detail, row.recipient) for row in addresses_of(tx, customer_id)]
    whole = {tuple(map(hide_numbers, texts)): texts for texts in known}
    drafts = [
        AddressDraft(draft.kind, *whole.get(texts, texts))
        for draft in drafts
        for texts in [(draft.region, draft.detail, draft.recipient)]
    ]
    tx.session.execute(
        delete(Address).where(Address.tenant_id == tx.tenant.id, Address.customer_id == customer_id)
    )
    tx.session.add_all(
        Address(
            tenant_id=tx.tenant.id,
            # The same address keeps its id, so that an order that picked it still finds it.
            address_id=derive_id(
                customer_id, draft.kind, draft.region, draft.detail, draft.recipient, str(position)
            ),
            customer_id=customer_id,
            kind=draft.kind,
            region=draft.region,
            detail=draft.detail,
            recipient=draft.recipient,
            position=position,
        )
        for position, draft in enumerate(drafts)
    )


def linked_customers(tx: Transaction, customer: Customer, limit: int) -> Sequence[Customer]:
    """Return customers below this one, and those of this dealer (F42)."""
    me = customer.customer_id
    return tx.session.scalars(
        select(Customer)
        .where(Customer.tenant_id == tx.tenant.id, or_(Customer.parent_id == me, Customer.dealer_id == me))
        .order_by(Customer.create_time.desc())
        .limit(limit)
    ).all()
