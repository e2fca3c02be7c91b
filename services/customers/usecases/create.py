"""Create a customer: for its submitter, into a pool, or as a registration that waits for its approver."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction
from services.chassis.errors import AppError
from services.chassis.ids import derive_id
from services.chassis.tokens import Caller
from services.customers.domain.customers import (
    Cause,
    ContactDraft,
    CustomerDraft,
    CustomerState,
    Owner,
    needs_approval,
)
from services.customers.domain.search import found_by
from services.customers.store.ledger import Change, add_owned, change_one, check_room
from services.customers.store.rules import get_pool, tenant_settings
from services.customers.store.tables import Base, Contact, Customer, Phone
from services.customers.usecases.categories import check_category
from services.customers.usecases.fields import FieldObject, definitions, hold_new_values
from services.customers.usecases.reservations import write_under
from services.kernel.fields import parse_values
from services.kernel.phones import PhoneNumber, mask_number


def check_create(tx: Transaction, caller: Caller, draft: CustomerDraft) -> bool:
    """Raise whatever refuses a new customer before its keys are asked for; return whether it must be approved.

    Raises InvalidInput APPROVER_MISSING or APPROVER_IS_SUBMITTER, NotFound POOL_NOT_FOUND, RuleViolation
    OWNER_CAP_REACHED.
    """
    parse_values(definitions(tx), draft.values, "values")
    check_category(tx, draft.category_id)
    approval = needs_approval(tenant_settings(tx).registration_required, draft, caller.person_id)
    if draft.pool_id:
        get_pool(tx, draft.pool_id)
    else:
        check_room(tx, caller.person_id, caller.department_path, region=draft.region, level=draft.level)
    return approval


def create_customer(tx: Transaction, caller: Caller, draft: CustomerDraft, reservation_id: str) -> Customer:
    """Store a customer whose keys are reserved; raises as `check_create`, and RESERVATION_CANCELLED."""
    approval = check_create(tx, caller, draft)
    write_under(tx, reservation_id)
    customer = add_customer(tx, draft, reservation_id, caller.person_id)
    if approval:
        customer.state = CustomerState.PENDING
        customer.approver_id = draft.approver_id
        customer.owner_department_path = caller.department_path
        tx.emit("registration_submitted", customer.customer_id, customer.version, _submitted(customer, draft))
        return customer
    owner = None if draft.pool_id else Owner(caller.person_id, caller.department_path)
    change = Change(Cause.CREATE, owner, pool_id=draft.pool_id)
    return change_one(tx, customer.customer_id, change, lambda _: None)


def add_customer(tx: Transaction, draft: CustomerDraft, reservation_id: str, submitter_id: str) -> Customer:
    """Add the rows of a customer that nobody owns yet."""
    add_customers(tx, [(draft, reservation_id)], submitter_id)
    return tx.session.get_one(Customer, (tx.tenant.id, draft.id))


def add_customers(tx: Transaction, drafts: Sequence[tuple[CustomerDraft, str]], submitter_id: str) -> None:
    """Add the rows of customers that nobody owns yet, each with its reservation's id; few statements for many.

    Raises InvalidInput below `values`, AlreadyExists FIELD_VALUE_TAKEN.
    """
    rows = _customers(tx, drafts, submitter_id)
    _insert(tx, Customer, rows)
    _add_parts(tx, [draft for draft, _ in drafts], rows)


def add_owned_customers(
    tx: Transaction,
    drafts: Sequence[tuple[CustomerDraft, str]],
    changes: Mapping[str, Change],
    submitter_id: str,
) -> dict[str, AppError]:
    """Add customers that begin with an owner or in a pool; raises as `add_customers`.

    changes: by customer's id. Returns why not, for those whose owner has no room; nothing of them is added.
    """
    rows = _customers(tx, drafts, submitter_id)
    refused = add_owned(tx, rows, changes)
    _add_parts(tx, [draft for draft, _ in drafts if draft.id not in refused], rows)
    return refused


def _customers(
    tx: Transaction, drafts: Sequence[tuple[CustomerDraft, str]], submitter_id: str
) -> list[dict[str, Any]]:
    # What is required is asked of a form only: rows of files and conversions may lack it.
    return [
        {
            "tenant_id": tx.tenant.id,
            "customer_id": draft.id,
            "name": draft.name,
            "state": CustomerState.ACTIVE,
            "level": draft.level,
            "region": draft.region,
            "address": draft.address,
            "business_type": draft.business_type,
            "submitter_id": submitter_id or None,
            "reservation_id": reservation_id or None,
            "owner_department_path": "",
            "rule_version": 0,
            "create_time": tx.now,
            "version": 1,
            "custom": parse_values(definitions(tx), draft.values, "values", before={}),
            "category_id": draft.category_id or None,
            "tags": draft.tags,
            "hot": False,
            "dealer": False,
            "allocate_due": False,
            # What its invoices need first.
            "finance": {"tax_number": draft.credit_code} if draft.credit_code else {},
            **found_by(draft.name),
        }
        for draft, reservation_id in drafts
    ]


def _add_parts(tx: Transaction, drafts: Sequence[CustomerDraft], rows: Sequence[Mapping[str, Any]]) -> None:
    """Add what new customers have beside their own rows."""
    values = {row["customer_id"]: row["custom"] for row in rows}
    hold_new_values(tx, FieldObject.CUSTOMER, {draft.id: values[draft.id] for draft in drafts})
    contacts = [
        (draft.id, contact, position) for draft in drafts for position, contact in enumerate(draft.contacts)
    ]
    _insert(tx, Contact, [_contact(tx, *item) for item in contacts])
    phones = [phone for draft in drafts for phone in _phones(tx, draft.id, None, draft.phones)]
    phones += [
        phone
        for customer_id, contact, _ in contacts
        for phone in _phones(tx, customer_id, contact.id, contact.phones)
    ]
    _insert(tx, Phone, phones)


def _insert(tx: Transaction, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        tx.session.execute(insert_rows(table, rows))


def add_contact(tx: Transaction, customer_id: str, draft: ContactDraft, position: int) -> None:
    """Add the rows of a contact."""
    _insert(tx, Contact, [_contact(tx, customer_id, draft, position)])
    _insert(tx, Phone, _phones(tx, customer_id, draft.id, draft.phones))


def _contact(tx: Transaction, customer_id: str, draft: ContactDraft, position: int) -> dict[str, Any]:
    return {
        "tenant_id": tx.tenant.id,
        "contact_id": draft.id,
        "customer_id": customer_id,
        "name": draft.name,
        "title": draft.title,
        "position": position,
        "create_time": tx.now,
        "address": "",
        "account": "",
        "hobbies": "",
    }


def _phones(
    tx: Transaction, customer_id: str, contact_id: str | None, drafts: Sequence[PhoneNumber]
) -> list[dict[str, Any]]:
    return [
        {
            "tenant_id": tx.tenant.id,
            "phone_id": derive_id(contact_id or customer_id, "phone", str(position)),
            "customer_id": customer_id,
            "contact_id": contact_id,
            "e164": draft.e164,
            "extension": draft.extension,
            "position": position,
        }
        for position, draft in enumerate(drafts)
    ]


def _submitted(customer: Customer, draft: CustomerDraft) -> dict[str, object]:
    phones = [*draft.phones, *(phone for contact in draft.contacts for phone in contact.phones)]
    shown = {
        "name": draft.name,
        "level": draft.level,
        "region": draft.region,
        "address": draft.address,
        "business_type": draft.business_type,
        "credit_code": draft.credit_code,
        "contacts": "、".join(contact.name for contact in draft.contacts),
        # Events carry no number in full (F59).
        "phones": "、".join(mask_number(phone.e164) for phone in phones),
    }
    return {
        "customerId": customer.customer_id,
        "name": customer.name,
        "approverId": customer.approver_id,
        "submitterId": customer.submitter_id,
        "shown": [{"name": name, "value": value} for name, value in shown.items() if value],
        "reservationId": customer.reservation_id or "",
    }
