"""Nobody finds out a number in what people typed by filtering, searching or sorting (F59)."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from crm.customers.v1 import customers_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.customers.usecases.listing import BUILT_IN
from services.customers.usecases.views import View, list_customers
from services.kernel.filters import OPERATORS, Kind
from tests.integration.customers.office import MANAGER, Desk, Office, Person

# They are shown alike: whatever is asked of them by who may not read them, they answer alike.
NUMBERS = ("13800138000", "13911139000", "13 022-230000")
ASKED = [f"custom.{kind}" for kind in ("text", "long_text")]
ASKED += [name for name, (kind, _) in BUILT_IN.items() if kind == Kind.TEXT]
# Parts of these numbers, whole ones, and what stands around them.
VALUES = st.one_of(
    st.text(alphabet="0123456789", min_size=1, max_size=6),
    st.sampled_from([*NUMBERS, "王", "王 1", "1380013", "王 13800138000", "王 138****00", "*", "0"]),
)


@pytest.fixture
def twins(office: Office, desk: Callable[[Person], Desk]) -> list[str]:
    """Customers of a rep that differ by nothing but a number in each text; their names as a manager reads them."""
    rep = desk(office.hire(MANAGER))
    for kind in ("text", "long_text"):
        rep.add_field(kind, kind)
    for number in NUMBERS:
        typed = f"王 {number}"
        values = [pb.FieldValue(key=kind, value=typed) for kind in ("text", "long_text")]
        rep.person.create(f"公司 {number}", region=typed, address=typed, business_type=typed, values=values)
    return [
        customer.name
        for customer in rep.person(pb.ListCustomersRequest(view=pb.CUSTOMER_VIEW_MINE)).customers
    ]


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    """Return a question about a text."""
    operator = draw(st.sampled_from(OPERATORS[Kind.TEXT])).value
    asked = {"field": draw(st.sampled_from(ASKED)), "op": operator}
    if operator.endswith("empty"):
        return asked
    many = operator in ("in", "not_in")
    return asked | {"value": draw(st.lists(VALUES, min_size=1, max_size=3) if many else VALUES)}


def seen(office: Office, person: Person, **asked: Any) -> list[str]:
    """Return the ids of what a list of everybody's customers shows."""
    wanted: dict[str, Any] = {
        "pool_id": "",
        "query": "",
        "filter_text": "",
        "order_by": "",
        "token": "",
        "size": 10,
    } | asked
    return office.run(
        lambda tx: [
            row.customer.customer_id for row in list_customers(tx, person.caller, View.ALL, **wanted)[0]
        ]
    )


def test_customers_that_are_shown_alike_answer_alike(office: Office, twins: list[str]) -> None:
    """Filters and the quick search, by who may not read the numbers; who may finds each by itself."""
    manager, reader = (
        office.hire(MANAGER, scope="all"),
        office.hire(MANAGER | {"numbers.view_all"}, scope="all"),
    )

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(document=conditions())
    def ask(document: dict[str, Any]) -> None:
        assert len(seen(office, manager, filter_text=json.dumps(document))) in (0, len(NUMBERS)), document

    @settings(max_examples=100, deadline=None)
    @given(query=st.one_of(VALUES, st.builds("公司 {}".format, VALUES), st.builds("gs{}".format, VALUES)))
    def search(query: str) -> None:
        assert len(seen(office, manager, query=query)) in (0, len(NUMBERS)), query

    ask()
    search()
    for number in NUMBERS:
        for field in ASKED:
            asked = json.dumps({"field": field, "op": "contains", "value": number})
            assert len(seen(office, reader, filter_text=asked)) == 1, field
    for query in ("13800138000", "公司 13800138000", "380013"):
        assert len(seen(office, reader, query=query)) == 1, query
    assert seen(office, manager, query="公司") == seen(office, reader, query="公司")


def test_a_page_token_tells_no_number(office: Office, twins: list[str]) -> None:
    """A list by name goes by what everybody may read of it, and so do the tokens between its pages."""
    manager = office.hire(MANAGER, scope="all")
    token, names = "", []
    while True:
        request = pb.ListCustomersRequest(
            view=pb.CUSTOMER_VIEW_ALL, order_by="name", page_size=1, page_token=token
        )
        answer = manager(request)
        names += [customer.name for customer in answer.customers]
        token = answer.next_page_token
        if not token:
            break
        told = base64.urlsafe_b64decode(token).decode()
        assert not any(number[3:8] in told for number in NUMBERS)
    assert sorted(names) == ["公司 13 ****00", "公司 138****00", "公司 139****00"]
