"""Lists of customers: filtered, sorted, searched, page by page, within what somebody may see."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    and_,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
)
from sqlalchemy import Text as SqlText
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.chassis.bulk import one_of, planned_anew
from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.paging import decode_key, encode_key
from services.chassis.tokens import Caller
from services.customers.domain.customers import CustomerState
from services.customers.domain.search import Search, parse_search
from services.customers.store.record_tables import FieldValue
from services.customers.store.rules import pools
from services.customers.store.tables import Contact, Customer, CustomerSearch, Phone
from services.customers.usecases.fields import FieldObject, definitions
from services.kernel.fields import FieldDefinition, FieldType
from services.kernel.filters import (
    FIELD_KINDS,
    HAS_DIGIT,
    Column,
    Context,
    Filter,
    Kind,
    custom_column,
    may_find,
)
from services.kernel.visibility import sees_every_number

# Customers that a number, a contact or a value of a field may lead to in one search.
MOST_FOUND = 500
# Customers whose names are picked out of the index in one search. A part that more names have than these is so frequent
# that whoever walks through a list in its order meets a page of them before long.
MOST_NAMED = 5000
# Customers that a search looks at one by one before it asks the index of names.
WALKED = 1000
# Classes of one count.
MOST_CLASSES = 200

# What may be asked of a customer beside the tenant's own fields.
BUILT_IN: Mapping[str, tuple[Kind, Any]] = {
    "name": (Kind.TEXT, Customer.name),
    "state": (Kind.CHOICE, Customer.state),
    "level": (Kind.CHOICE, Customer.level),
    "region": (Kind.TEXT, Customer.region),
    "address": (Kind.TEXT, Customer.address),
    "business_type": (Kind.TEXT, Customer.business_type),
    "owner_id": (Kind.ID, Customer.owner_id),
    "submitter_id": (Kind.ID, Customer.submitter_id),
    "pool_id": (Kind.ID, Customer.pool_id),
    "category_id": (Kind.ID, Customer.category_id),
    "dealer_id": (Kind.ID, Customer.dealer_id),
    "parent_id": (Kind.ID, Customer.parent_id),
    "dealer": (Kind.BOOLEAN, Customer.dealer),
    "hot": (Kind.BOOLEAN, Customer.hot),
    "tags": (Kind.LIST, Customer.tags),
    "create_time": (Kind.TIME, Customer.create_time),
    "own_time": (Kind.TIME, Customer.own_time),
    "last_evidence_time": (Kind.TIME, Customer.last_evidence_time),
    "lock_expire_time": (Kind.TIME, Customer.lock_expire_time),
    "reclaim_due_time": (Kind.TIME, Customer.reclaim_due_at),
}
# States of a customer that has been let in.
KEPT = (CustomerState.ACTIVE.value, CustomerState.TRASHED.value)
# The tenant's own fields.
CUSTOM: ColumnElement[Any] = type_coerce(Customer.custom, JSONB)
# What empty values count as in an order: the least there is.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SORTED_TYPES = (FieldType.NUMBER, FieldType.AMOUNT, FieldType.DATE, FieldType.DATETIME)
LEAST = {
    FieldType.NUMBER: Decimal("-1e18"),
    FieldType.AMOUNT: Decimal("-1e18"),
    FieldType.DATE: date(1, 1, 1),
    FieldType.DATETIME: datetime(1, 1, 1, tzinfo=UTC),
}
BY_CLASS = {
    "level": Customer.level,
    "region": Customer.region,
    "business_type": Customer.business_type,
    "category_id": Customer.category_id,
    "owner_id": Customer.owner_id,
    "dealer_id": Customer.dealer_id,
}


def filter_kinds(fields: Sequence[FieldDefinition]) -> dict[str, Kind]:
    """Return what a filter of customers may ask: built-in fields, and the tenant's own as custom.key."""
    return {name: kind for name, (kind, _) in BUILT_IN.items()} | {
        f"custom.{field.key}": FIELD_KINDS[field.type] for field in fields
    }


def filter_columns(fields: Sequence[FieldDefinition], shown: ColumnElement[bool]) -> dict[str, Column]:
    """Return where the fields are in SQL. shown: see `readable`."""
    return {name: Column(column, shown=shown) for name, (_, column) in BUILT_IN.items()} | {
        f"custom.{field.key}": custom_column(CUSTOM, field, shown) for field in fields
    }


def readable(caller: Caller) -> ColumnElement[bool]:
    """Return the condition on customers whose numbers the caller may see: `sees_numbers` in SQL."""
    if sees_every_number(caller):
        return or_(Customer.state.not_in(KEPT), Customer.owner_id.is_not(None))
    if not caller.person_id:
        return false()
    return case(
        (Customer.state.in_(KEPT), Customer.owner_id == caller.person_id),
        else_=Customer.submitter_id == caller.person_id,
    )


def filter_condition(
    tx: Transaction, caller: Caller, text: str, *, numbers_shown: bool
) -> ColumnElement[bool]:
    """Return the condition that a filter of customers means; raises InvalidInput below `filter`.

    numbers_shown: whether the caller sees every number; who does not finds out none by asking for it.
    """
    fields = [field for field in definitions(tx) if numbers_shown or field.type != FieldType.PHONE]
    filter_ = Filter.parse(text, filter_kinds(fields))
    asked = filter_.to_sql(filter_columns(fields, readable(caller)), Context(tx.now, caller.person_id))
    return and_(asked, not_hidden(tx, filter_.fields))


def planned_for(tx: Transaction, filter_text: str) -> AbstractContextManager[None]:
    """Have statements inside planned for the values that a filter, if there is one, asks for.

    A plan that is kept for any value believes that few customers have one of the tenant's own: for the list of somebody
    with five hundred it takes all that have the value out of the index of those.
    """
    return planned_anew(tx.session) if filter_text else nullcontext()


def not_hidden(tx: Transaction, fields: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that leaves out what lies in a pool that hides one of these fields (F24).

    Who may not see a field shall not find it out by asking for its values.
    """
    hiding = [pool.pool_id for pool in pools(tx) if not set(fields).isdisjoint(pool.hidden_fields)]
    if not hiding:
        return true()
    return or_(Customer.owner_id.is_not(None), Customer.pool_id.is_(None), Customer.pool_id.not_in(hiding))


@dataclass(frozen=True)
class Order:
    """How a list is sorted: by an expression that is never empty, then by id. name: as it was asked for."""

    name: str
    expression: ColumnElement[Any]
    type: type
    descending: bool

    @property
    def by_time(self) -> bool:
        """Whether it is that of the time in which customers were made."""
        return self.name.removeprefix("-") in ("", "create_time")

    @property
    def clauses(self) -> list[ColumnElement[Any]]:
        """What ORDER BY says."""
        parts: list[Any] = [self.expression, Customer.customer_id]
        return [part.desc() if self.descending else part.asc() for part in parts]

    def after(self, token: str) -> ColumnElement[bool] | None:
        """Return the condition for the page behind a token; raises InvalidInput PAGE_TOKEN_INVALID."""
        key = decode_key(token, self.name, self.type)
        if key is None:
            return None
        row = tuple_(self.expression, Customer.customer_id)
        return row < key if self.descending else row > key

    def token(self, value: Any, customer_id: str) -> str:
        """Return the token for the page behind a row."""
        return encode_key(self.name, value, customer_id)


def parse_order(tx: Transaction, text: str) -> Order:
    """Return the order that is asked for; raises InvalidInput ORDER_UNKNOWN."""
    descending = text.startswith("-") or not text
    name = text.removeprefix("-") or "create_time"
    label = text or "-create_time"
    built_in: dict[str, tuple[Any, type]] = {
        "create_time": (Customer.create_time, datetime),
        "own_time": (func.coalesce(Customer.own_time, EPOCH), datetime),
        "last_evidence_time": (
            # As the index has it.
            func.coalesce(
                Customer.last_evidence_time, literal_column("'1970-01-01 00:00:00+00'::timestamptz")
            ),
            datetime,
        ),
        "name": (Customer.initials, str),
    }
    if name in built_in:
        return Order(label, *built_in[name], descending)
    for field in definitions(tx):
        if name == f"custom.{field.key}" and field.type in SORTED_TYPES:
            least = LEAST[field.type]
            expression = func.coalesce(custom_column(CUSTOM, field).expression, least)
            return Order(label, expression, type(least), descending)
    raise InvalidInput(
        "order_by", "ORDER_UNKNOWN", "不能按 {name} 排序", "There is no order by {name}", name=name[:50]
    )


@dataclass(frozen=True)
class QuickSearch:
    """A quick search. found: customers that a contact, a number or a field's value leads to.

    readable: those in whose names who asks may read numbers.
    """

    asked: Search
    found: Sequence[str]
    readable: ColumnElement[bool]

    @property
    def met(self) -> ColumnElement[bool]:
        """The condition on each customer that it finds; no index gives them."""
        named = and_(_has_part(self.asked), may_find(Customer.name, self.asked.name, self.readable))
        return or_(named, one_of(Customer.customer_id, self.found))

    def by_index(self, tx: Transaction) -> ColumnElement[bool]:
        """Return the same condition by what the index of names gives, where that is not too much."""
        pieces = cast_to(list(self.asked.pieces), ARRAY(SqlText))
        named = (
            select(CustomerSearch.customer_id)
            .where(CustomerSearch.tenant_id == tx.tenant.id, CustomerSearch.pieces.bool_op("@>")(pieces))
            .limit(MOST_NAMED + 1)
            .subquery()
        )
        # In one text, as they go back: thousands of ids cost more to take apart than to find.
        ids = func.string_agg(cast_to(named.c.customer_id, SqlText), ",")
        joined, count = tx.session.execute(select(ids, func.count()).select_from(named)).one()
        if count > MOST_NAMED:
            return self.met
        return and_(one_of(Customer.customer_id, filter(None, [joined, *self.found])), self.met)


def parse_query(tx: Transaction, caller: Caller, text: str) -> QuickSearch | None:
    """Return what a quick search asks for: part of a name, its pinyin initials, a number, a contact, a field's value.

    A whole number finds every customer that the caller may see; its last digits, being easier to guess, only those
    whose numbers the caller may read (F59, F70). None where it asks for nothing.
    """
    search = parse_search(text)
    if not search.pieces or not (search.name or search.letters):
        return None
    found = _found_elsewhere(tx, caller, text, search.number, search.digits)
    return QuickSearch(search, found, readable(caller))


def search_condition(tx: Transaction, caller: Caller, text: str) -> ColumnElement[bool]:
    """Return the condition that a quick search means, see `parse_query`."""
    search = parse_query(tx, caller, text)
    return search.by_index(tx) if search else false()


def _has_part(search: Search) -> ColumnElement[bool]:
    """Return the condition on a name, or on its initials.

    Not by LIKE: of that the planner believes that few rows hold a long part, and reads them all to sort those few.
    """
    column, part = (Customer.search_name, search.name) if search.name else (Customer.initials, search.letters)
    if search.start:
        return func.starts_with(column, part, type_=Boolean)
    return func.strpos(column, part) > 0


def _found_elsewhere(tx: Transaction, caller: Caller, text: str, number: str, digits: str) -> list[str]:
    here = tx.tenant.id
    named = select(Contact.customer_id).where(
        Contact.tenant_id == here, Contact.name.startswith(text.strip(), autoescape=True)
    )
    if HAS_DIGIT.search(text):
        named = named.join(
            Customer,
            and_(Customer.tenant_id == Contact.tenant_id, Customer.customer_id == Contact.customer_id),
        ).where(may_find(Contact.name, text, readable(caller)))
    queries = [named]
    if number:
        queries.append(select(Phone.customer_id).where(Phone.tenant_id == here, Phone.e164 == number))
    elif digits:
        tail = Phone.tail.startswith(digits[::-1], autoescape=True)
        query = select(Phone.customer_id).where(Phone.tenant_id == here, tail)
        if not sees_every_number(caller):
            query = query.join(
                Customer,
                and_(Customer.tenant_id == Phone.tenant_id, Customer.customer_id == Phone.customer_id),
            ).where(Customer.owner_id == caller.person_id)
        queries.append(query)
    keys = [
        field.key
        for field in definitions(tx)
        if field.searchable and (field.type != FieldType.PHONE or number)
    ]
    if keys:
        queries.append(
            select(FieldValue.record_id).where(
                FieldValue.tenant_id == here,
                FieldValue.object == FieldObject.CUSTOMER,
                FieldValue.key.in_(keys),
                FieldValue.value.in_([text.strip(), *([number] if number else [])]),
            )
        )
    found: dict[str, None] = {}
    for query in queries:
        found |= dict.fromkeys(tx.session.scalars(query.limit(MOST_FOUND)))
    return list(found)


def find_page(
    tx: Transaction, conditions: Sequence[ColumnElement[bool]], order: Order, token: str, size: int
) -> tuple[Sequence[Customer], str]:
    """Return a page of customers and the token of the next one, "" on the last.

    Pages follow the key of the last row that was seen, so rows that come or go meanwhile change nothing of the others:
    none is shown twice or left out, but for one that itself moved across that key.
    """
    after = order.after(token)
    wheres = [*conditions, after] if after is not None else conditions
    rows = tx.session.execute(
        select(Customer, order.expression).where(*wheres).order_by(*order.clauses).limit(size + 1)
    ).all()
    page = rows[:size]
    next_token = order.token(page[-1][1], page[-1][0].customer_id) if len(rows) > size else ""
    return [row[0] for row in page], next_token


def find_searched_page(
    tx: Transaction,
    conditions: Sequence[ColumnElement[bool]],
    search: QuickSearch | None,
    order: Order,
    token: str,
    size: int,
    *,
    walked: Sequence[ColumnElement[bool]],
) -> tuple[Sequence[Customer], str]:
    """Return as `find_page` what a quick search finds under these conditions.

    walked: those of the conditions under which an index gives customers by the time they were made. By that the first
    WALKED are looked at: of a part that many names have they fill a page, before the index of names has told how many
    there are; and nobody's own customers are more.
    """
    if search is None:
        return [], ""
    if order.by_time and not (search.asked.number or search.asked.digits):
        end = _end_of_walk(tx, walked, order, token)
        near = [*conditions, search.met, *([end] if end is not None else [])]
        rows, next_token = find_page(tx, near, order, token, size)
        if next_token or end is None:
            return rows, next_token
    return find_page(tx, [*conditions, search.by_index(tx)], order, token, size)


def _end_of_walk(
    tx: Transaction, walked: Sequence[ColumnElement[bool]], order: Order, token: str
) -> ColumnElement[bool] | None:
    """Return the condition that a customer is among the first WALKED behind a token; None where all are."""
    after = order.after(token)
    last = tx.session.execute(
        select(Customer.create_time, Customer.customer_id)
        .where(*walked, *([after] if after is not None else []))
        .order_by(*order.clauses)
        .offset(WALKED - 1)
        .limit(1)
    ).first()
    if last is None:
        return None
    key = tuple_(Customer.create_time, Customer.customer_id)
    return key >= tuple(last) if order.descending else key <= tuple(last)


def count_by(tx: Transaction, conditions: Sequence[ColumnElement[bool]], by: str) -> list[tuple[str, int]]:
    """Return how many customers there are of each class, the largest first (F44, F58); raises CLASS_UNKNOWN."""
    column: Any = BY_CLASS.get(by)
    for field in definitions(tx):
        if by == f"custom.{field.key}" and field.type == FieldType.CHOICE:
            column = Customer.custom[field.key].astext
    if column is None:
        raise InvalidInput(
            "by", "CLASS_UNKNOWN", "不能按 {by} 统计", "There are no classes by {by}", by=by[:50]
        )
    value = func.coalesce(cast_to(column, SqlText), "").label("value")
    count = func.count().label("number")
    rows = tx.session.execute(
        select(value, count)
        .where(*conditions, not_hidden(tx, {by}))
        .group_by(value)
        .order_by(count.desc(), value)
        .limit(MOST_CLASSES)
    )
    return [(row.value, row.number) for row in rows]
