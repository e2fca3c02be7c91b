"""All there is to see of a customer, gathered in one read (F60)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import and_, or_, select

from services.chassis.db import Transaction
from services.chassis.tokens import Caller
from services.customers.store.record_tables import Address, Plan, TimelineEntry
from services.customers.store.tables import Customer, FollowUp
from services.customers.usecases.categories import branch
from services.customers.usecases.plans import OpenPlan, open_plans
from services.customers.usecases.records import addresses_of, linked_customers
from services.customers.usecases.timeline import list_timeline
from services.customers.usecases.views import (
    SeenCustomer,
    View,
    follow_ups_of,
    in_view,
    seen_customer,
    show,
)
from services.kernel.money import format_amount

# Rows of each part of the page, and linked customers.
MOST_ROWS = 20
MOST_LINKED = 50
# Orders that the account counts.
MOST_ORDERS = 5000


@dataclass(frozen=True)
class Link:
    """Another customer. name: "" for one that the caller does not see."""

    customer_id: str
    name: str
    relation: str


@dataclass(frozen=True)
class Account:
    """What orders amount to, as far as their service told. amount: of the approved ones, in CNY."""

    approved: int
    amount: str
    open: int


@dataclass(frozen=True)
class CustomerPage:
    """A customer with all around it. finance: None where the numbers are masked."""

    seen: SeenCustomer
    addresses: Sequence[Address]
    finance: dict[str, str] | None
    follow_ups: Sequence[FollowUp]
    plans: Sequence[OpenPlan]
    timeline: Sequence[TimelineEntry]
    account: Account
    category_names: Sequence[str]
    parent: Link | None
    dealer: Link | None
    linked: Sequence[Link]


def customer_page(tx: Transaction, caller: Caller, customer_id: str) -> CustomerPage:
    """Return a customer's page; raises as `get_customer`."""
    customer = seen_customer(tx, caller, customer_id)
    customer_id = customer.customer_id
    seen = show(tx, caller, customer)
    below = linked_customers(tx, customer, MOST_LINKED)
    names = _names(tx, caller, [customer.parent_id, customer.dealer_id, *(row.customer_id for row in below)])

    def link(other_id: str | None, relation: str) -> Link | None:
        return Link(other_id, names.get(other_id, ""), relation) if other_id else None

    hidden = "address" in seen.hidden
    return CustomerPage(
        seen=seen,
        addresses=[] if hidden else addresses_of(tx, customer_id),
        finance=customer.finance if seen.numbers_shown else None,
        follow_ups=follow_ups_of(tx, customer_id, after=None, limit=MOST_ROWS),
        plans=open_plans(tx, caller, Plan.customer_id == customer_id, after=None, limit=MOST_ROWS),
        timeline=list_timeline(tx, customer_id, after=None, limit=MOST_ROWS),
        account=_account(tx, customer_id),
        category_names=branch(tx, customer.category_id) if customer.category_id else [],
        parent=link(customer.parent_id, "parent"),
        dealer=link(customer.dealer_id, "dealer"),
        linked=[
            Link(
                row.customer_id,
                names.get(row.customer_id, ""),
                "child" if row.parent_id == customer_id else "dealt",
            )
            for row in below
        ],
    )


def _names(tx: Transaction, caller: Caller, ids: Sequence[str | None]) -> dict[str, str]:
    """Return the names of those that the caller sees."""
    wanted = [other_id for other_id in ids if other_id]
    if not wanted:
        return {}
    rows = tx.session.execute(
        select(Customer.customer_id, Customer.name).where(
            and_(Customer.tenant_id == tx.tenant.id, Customer.customer_id.in_(wanted)),
            or_(in_view(tx, caller, View.ALL), in_view(tx, caller, View.REGISTRATIONS)),
        )
    )
    return {row.customer_id: row.name for row in rows}


def _account(tx: Transaction, customer_id: str) -> Account:
    rows = tx.session.scalars(
        select(TimelineEntry)
        .where(
            TimelineEntry.tenant_id == tx.tenant.id,
            TimelineEntry.customer_id == customer_id,
            TimelineEntry.kind == "order",
        )
        .limit(MOST_ORDERS)
    ).all()
    made = {row.subject_id: row.data for row in rows if row.data.get("what") == "order_generated"}
    approved = {row.subject_id for row in rows if row.data.get("what") == "order_approved"}
    amount = sum((Decimal(made[key].get("amount", "0")) for key in approved if key in made), Decimal(0))
    return Account(len(approved), format_amount(amount), len(made.keys() - approved))
