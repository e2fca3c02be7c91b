"""Reading JSON strictly: whatever comes, it is the contract's message or a list of faults, never a crash."""

import json
from typing import Any

import pytest
from crm.customers.v1 import customers_pb2 as customers
from crm.identity.v1 import identity_pb2 as identity
from crm.orders.v1 import orders_pb2 as orders
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from services.gateway.errors import Fault
from services.gateway.transcode import bind, fill, query_object, request_id_of, to_json


def read(message: Message, value: dict[str, Any]) -> list[str]:
    """Fill a message; return the fields that are wrong."""
    faults: list[Fault] = []
    fill(message, value, faults)
    return [fault.field for fault in faults]


names = st.sampled_from(
    [field.json_name for field in customers.CreateCustomerRequest.DESCRIPTOR.fields] + ["x"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.just("number"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, values, max_size=5))
def test_any_json_is_read_or_refused(value: dict[str, Any]) -> None:
    message = customers.CreateCustomerRequest()
    if not read(message, value):
        again = customers.CreateCustomerRequest()
        assert read(again, json.loads(to_json(message))) == []
        assert again == message


@given(
    st.builds(
        customers.CreateCustomerRequest,
        name=st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        phones=st.lists(
            st.builds(customers.PhoneInput, number=st.text(st.characters(codec="ascii", min_codepoint=32))),
            max_size=3,
        ),
    )
)
def test_a_message_survives_the_way_through_json(message: customers.CreateCustomerRequest) -> None:
    again = customers.CreateCustomerRequest()
    assert read(again, json.loads(to_json(message))) == []
    assert again == message


@pytest.mark.parametrize(
    ("message", "value", "wrong"),
    [
        (orders.UpdateSettingsRequest(), {"settings": {"handleWithin": "1800s"}}, []),
        (
            orders.UpdateSettingsRequest(),
            {"settings": {"handleWithin": "30 minutes"}},
            ["settings.handleWithin"],
        ),
        (
            orders.UpdateSettingsRequest(),
            {"settings": {"handleWithin": {"seconds": 5}}},
            ["settings.handleWithin"],
        ),
        (orders.UpdateSettingsRequest(), {"settings": None}, []),
        (identity.UpdatePersonRequest(), {"updateMask": "name,departmentId"}, []),
        (identity.UpdatePersonRequest(), {"updateMask": ["name"]}, ["updateMask"]),
        (identity.UpdatePersonRequest(), {"person": {"version": "12"}}, []),
        (identity.UpdatePersonRequest(), {"person": {"version": 12}}, []),
        (identity.UpdatePersonRequest(), {"person": {"version": 1.5}}, ["person.version"]),
        (identity.UpdatePersonRequest(), {"person": {"version": 2**63}}, ["person.version"]),
        (identity.UpdatePersonRequest(), {"person": {"version": True}}, ["person.version"]),
        (identity.UpdatePersonRequest(), {"person": {"active": "true"}}, ["person.active"]),
        (identity.UpdatePersonRequest(), {"person": {"scope": "DATA_SCOPE_ALL"}}, []),
        (identity.UpdatePersonRequest(), {"person": {"scope": 3}}, ["person.scope"]),
        (identity.UpdatePersonRequest(), {"person": {"scope": ["DATA_SCOPE_ALL"]}}, ["person.scope"]),
        (identity.UpdatePersonRequest(), {"person": {"roles": ["a", None]}}, ["person.roles[1]"]),
        (identity.UpdatePersonRequest(), {"person": {"roles": ["a\0"]}}, ["person.roles[0]"]),
        (identity.UpdatePersonRequest(), {"person": {"roles": "a"}}, ["person.roles"]),
        (identity.UpdatePersonRequest(), {"person": []}, ["person"]),
        (identity.UpdatePersonRequest(), {"person": {"person_id": "x"}}, ["person.person_id"]),
    ],
)
def test_each_type_is_read_as_the_contract_says(
    message: Message, value: dict[str, Any], wrong: list[str]
) -> None:
    assert read(message, value) == wrong


def test_an_empty_object_is_set_all_the_same() -> None:
    """A message with no field differs from none: services ask which."""
    message = identity.UpdatePersonRequest()
    assert read(message, {"person": {}}) == []
    assert message.HasField("person")


def test_a_list_keeps_its_order() -> None:
    message = customers.ClaimCustomersRequest()
    assert read(message, {"customerIds": ["b", "a", "c"]}) == []
    assert list(message.customer_ids) == ["b", "a", "c"]


def test_a_query_gives_a_list_where_the_contract_has_one() -> None:
    faults: list[Fault] = []
    query = QueryParams("customerIds=a&customerIds=b&requestId=1&requestId=2")
    value = query_object(customers.ClaimCustomersRequest(), query, faults)
    assert value == {"customerIds": ["a", "b"], "requestId": "1"}
    assert [fault.field for fault in faults] == ["requestId"]


def test_a_path_that_holds_nul_is_refused() -> None:
    faults: list[Fault] = []
    bind(customers.GetCustomerRequest(), "customer_id", "a\0b", faults)
    assert [fault.field for fault in faults] == ["customerId"]


@given(st.text())
def test_a_request_id_is_always_a_uuid(key: str) -> None:
    assert len(request_id_of(key)) == 36
