"""Customers as somebody sees them: only the visible ones, with numbers in full or masked, and what may be done."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, or_, select, tuple_

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.tokens import Caller
from services.customers.domain.actions import Facts, allowed_actions, sees_numbers
from services.customers.domain.customers import CustomerState, pool_forbidden
from services.customers.store.merge_tables import MOVED
from services.customers.store.rules import get_pool, own_pools, pools
from services.customers.store.tables import Contact, Customer, FollowUp, OwnershipChange, Phone, Pool
from services.customers.usecases.fields import definitions
from services.customers.usecases.listing import (
    count_by,
    filter_condition,
    find_page,
    find_searched_page,
    parse_order,
    parse_query,
    planned_for,
    search_condition,
)
from services.kernel.fields import Stored, shown_values
from services.kernel.visibility import covers, sees_all, sees_every_number, visible

# Rows of the ledger that one answer holds.
MOST_CHANGES = 200


class View(StrEnum):
    """Which customers a list shows."""

    MINE = "mine"
    POOL = "pool"
    ALL = "all"
    REGISTRATIONS = "registrations"


@dataclass(frozen=True)
class SeenCustomer:
    """A customer with what the caller may know and do. contacts, phones: in the order of the form.

    hidden: fields that its pool shows to nobody.
    """

    customer: Customer
    phones: Sequence[Phone]
    contacts: Sequence[Contact]
    numbers_shown: bool
    actions: Sequence[str]
    custom: Mapping[str, Stored]
    hidden: frozenset[str] = frozenset()


def get_customer(tx: Transaction, caller: Caller, customer_id: str) -> SeenCustomer:
    """Return a customer; raises NotFound CUSTOMER_NOT_FOUND, Forbidden POOL_FORBIDDEN (F13)."""
    return show(tx, caller, seen_customer(tx, caller, customer_id))


def list_customers(
    tx: Transaction,
    caller: Caller,
    view: View,
    *,
    pool_id: str,
    query: str,
    filter_text: str,
    order_by: str,
    token: str,
    size: int,
) -> tuple[list[SeenCustomer], str]:
    """Return a page of a view without contacts, and the token of the next one.

    query, filter_text, order_by: as in `parse_query`, `filter_condition` and `parse_order`. Raises NotFound
    POOL_NOT_FOUND and Forbidden POOL_FORBIDDEN for a pool that the caller does not see, InvalidInput naming filter,
    order_by or page_token.
    """
    conditions = list_conditions(tx, caller, view, pool_id=pool_id, query="", filter_text=filter_text)
    order = parse_order(tx, order_by)
    with planned_for(tx, filter_text):
        if query:
            own = [Customer.owner_id == caller.person_id] if view == View.MINE else []
            rows, next_token = find_searched_page(
                tx,
                conditions,
                parse_query(tx, caller, query),
                order,
                token,
                size,
                walked=[Customer.tenant_id == tx.tenant.id, *own],
            )
        else:
            rows, next_token = find_page(tx, conditions, order, token, size)
    return _show(tx, caller, rows, with_contacts=False), next_token


def count_customers(
    tx: Transaction, caller: Caller, view: View, *, pool_id: str, filter_text: str, by: str
) -> list[tuple[str, int]]:
    """Return how many customers of a list are in each class, as `count_by`; raises as `list_customers`."""
    conditions = list_conditions(tx, caller, view, pool_id=pool_id, query="", filter_text=filter_text)
    with planned_for(tx, filter_text):
        return count_by(tx, conditions, by)


def list_conditions(
    tx: Transaction, caller: Caller, view: View, *, pool_id: str, query: str, filter_text: str = ""
) -> list[ColumnElement[bool]]:
    """Return what holds for the customers of a list, for its pages and for a file of all of them.

    Raises as `list_customers`.
    """
    if pool_id and get_pool(tx, pool_id).pool_id not in _seen_pool_ids(tx, caller):
        raise pool_forbidden()
    conditions = [Customer.tenant_id == tx.tenant.id, in_view(tx, caller, view)]
    if pool_id:
        conditions.append(Customer.pool_id == pool_id)
    if query:
        conditions.append(search_condition(tx, caller, query))
    if filter_text:
        shown = sees_every_number(caller)
        conditions.append(filter_condition(tx, caller, filter_text, numbers_shown=shown))
    return conditions


def show(tx: Transaction, caller: Caller, customer: Customer) -> SeenCustomer:
    """Return a customer that the caller may see, with contacts."""
    (seen,) = _show(tx, caller, [customer], with_contacts=True)
    return seen


def show_all(tx: Transaction, caller: Caller, customers: Sequence[Customer]) -> list[SeenCustomer]:
    """Return customers that the caller may see, without contacts."""
    return _show(tx, caller, customers, with_contacts=False)


def seen_customer(tx: Transaction, caller: Caller, customer_id: str) -> Customer:
    """Return the row of a customer that the caller may see; raises as `get_customer`.

    The id of one that was merged leads to the customer that it lives on in.
    """
    row = and_(Customer.tenant_id == tx.tenant.id, Customer.customer_id == customer_id)
    found = tx.session.scalar(
        select(Customer).where(
            row, or_(in_view(tx, caller, View.ALL), in_view(tx, caller, View.REGISTRATIONS))
        )
    )
    if found:
        return found
    if tx.session.scalar(select(Customer.customer_id).where(row, _pooled())):
        raise pool_forbidden()
    if (current := MOVED.current(tx, customer_id)) != customer_id:
        return seen_customer(tx, caller, current)
    raise not_found("customer", "客户", customer_id)


def numbers_shown(caller: Caller, customer: Customer) -> bool:
    """Tell whether the caller may see a customer's numbers, in fields or in what people typed (F59)."""
    return sees_numbers(
        customer.state,
        customer.owner_id,
        customer.submitter_id,
        caller.person_id,
        sees_every_number(caller),
    )


def follow_ups_of(
    tx: Transaction, customer_id: str, *, after: tuple[datetime, str] | None, limit: int
) -> Sequence[FollowUp]:
    """Return up to `limit` follow-ups, newest first, of a customer that the caller was found to see."""
    conditions = [FollowUp.tenant_id == tx.tenant.id, FollowUp.customer_id == customer_id]
    if after:
        conditions.append(tuple_(FollowUp.create_time, FollowUp.follow_up_id) < after)
    return tx.session.scalars(
        select(FollowUp)
        .where(*conditions)
        .order_by(FollowUp.create_time.desc(), FollowUp.follow_up_id.desc())
        .limit(limit)
    ).all()


def list_ownership_changes(tx: Transaction, caller: Caller, customer_id: str) -> Sequence[OwnershipChange]:
    """Return the ledger of a customer, newest first (F43); raises as `get_customer`."""
    customer_id = seen_customer(tx, caller, customer_id).customer_id
    return tx.session.scalars(
        select(OwnershipChange)
        .where(OwnershipChange.tenant_id == tx.tenant.id, OwnershipChange.customer_id == customer_id)
        .order_by(OwnershipChange.sequence.desc())
        .limit(MOST_CHANGES)
    ).all()


def seen_pools(tx: Transaction, caller: Caller) -> list[Pool]:
    """Return the pools that somebody is a member of, all for whoever manages them or sees everything."""
    if sees_all(caller) or "pools.manage" in caller.rights:
        return list(pools(tx))
    return own_pools(tx, caller)


def facts_of(tx: Transaction, caller: Caller, customer: Customer) -> Facts:
    """Return what decides what the caller may do with a customer."""
    return Facts(
        state=customer.state,
        owned=customer.owner_id is not None,
        own=customer.owner_id == caller.person_id,
        in_scope=covers(caller, customer.owner_id, customer.owner_department_path),
        locked=customer.lock_expire_time is not None and customer.lock_expire_time > tx.now,
        member=customer.pool_id in _own_pool_ids(tx, caller),
        rights=caller.rights,
    )


def _hidden(tx: Transaction, customer: Customer) -> frozenset[str]:
    """Return what a customer's pool shows to nobody while it is in there."""
    if customer.owner_id or not customer.pool_id or customer.state == CustomerState.PENDING:
        return frozenset()
    return frozenset(get_pool(tx, customer.pool_id).hidden_fields)


def _own_pool_ids(tx: Transaction, caller: Caller) -> frozenset[str]:
    """Return the pools that the caller may claim from, looked up once for a whole page."""
    known: dict[str, frozenset[str]] = tx.session.info.setdefault("own_pools", {})
    if caller.person_id not in known:
        known[caller.person_id] = frozenset(pool.pool_id for pool in own_pools(tx, caller))
    return known[caller.person_id]


def _seen_pool_ids(tx: Transaction, caller: Caller) -> list[str]:
    return [pool.pool_id for pool in seen_pools(tx, caller)]


def _pooled() -> ColumnElement[bool]:
    return and_(Customer.state == CustomerState.ACTIVE, Customer.owner_id.is_(None))


def in_view(tx: Transaction, caller: Caller, view: View) -> ColumnElement[bool]:
    """Return the condition under which a customer is in somebody's view."""
    owned = and_(Customer.state == CustomerState.ACTIVE, Customer.owner_id.is_not(None))
    pooled = and_(_pooled(), Customer.pool_id.in_(_seen_pool_ids(tx, caller)))
    match view:
        case View.MINE:
            return Customer.owner_id == caller.person_id
        case View.POOL:
            return pooled
        case View.ALL:
            scope = visible(caller, Customer.owner_id, Customer.owner_department_path)
            return or_(and_(owned, scope), pooled)
        case View.REGISTRATIONS:
            scope = visible(caller, Customer.submitter_id, Customer.owner_department_path)
            return and_(
                Customer.state.in_((CustomerState.PENDING, CustomerState.REJECTED)),
                or_(scope, Customer.approver_id == caller.person_id),
            )


def _show(
    tx: Transaction, caller: Caller, customers: Sequence[Customer], *, with_contacts: bool
) -> list[SeenCustomer]:
    if not customers:
        return []
    ids = [customer.customer_id for customer in customers]
    own_phones = select(Phone).where(Phone.tenant_id == tx.tenant.id, Phone.customer_id.in_(ids))
    if not with_contacts:
        own_phones = own_phones.where(Phone.contact_id.is_(None))
    phones = tx.session.scalars(own_phones.order_by(Phone.position)).all()
    contacts: Sequence[Contact] = []
    if with_contacts:
        contacts = tx.session.scalars(
            select(Contact)
            .where(Contact.tenant_id == tx.tenant.id, Contact.customer_id.in_(ids))
            .order_by(Contact.position, Contact.create_time)
        ).all()
    phones_by, contacts_by = defaultdict(list), defaultdict(list)
    for phone in phones:
        phones_by[phone.customer_id].append(phone)
    for contact in contacts:
        contacts_by[contact.customer_id].append(contact)
    hidden = {customer.customer_id: _hidden(tx, customer) for customer in customers}
    return [
        SeenCustomer(
            customer,
            [
                phone
                for phone in phones_by[customer.customer_id]
                if ("contacts" if phone.contact_id else "phones") not in hidden[customer.customer_id]
            ],
            [
                contact
                for contact in contacts_by[customer.customer_id]
                if "contacts" not in hidden[customer.customer_id]
            ],
            numbers_shown(caller, customer),
            allowed_actions(facts_of(tx, caller, customer)),
            shown_values(
                definitions(tx), customer.custom or {}, numbers_shown=numbers_shown(caller, customer)
            ),
            hidden[customer.customer_id],
        )
        for customer in customers
    ]
