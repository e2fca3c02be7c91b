"""The committed OpenAPI document says what the contracts say, precisely enough for a typed client."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.gateway import openapi
from services.gateway.routes import routes

COMMITTED: dict[str, Any] = json.loads(openapi.COMMITTED.read_text())
OPERATIONS: list[dict[str, Any]] = [
    operation for path in COMMITTED["paths"].values() for operation in path.values()
]
SCHEMAS: dict[str, Any] = COMMITTED["components"]["schemas"]


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Return every object inside a value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(item)


def test_the_committed_document_is_what_the_contracts_give() -> None:
    """`make proto` writes it; a contract that changed without it would leave every client behind."""
    assert openapi.COMMITTED.read_text() == openapi.rendered()


def test_every_annotated_rpc_has_one_operation() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert {f"{route.service}.{route.method.name}" for route in routes()} < set(ids)


def test_every_reference_leads_somewhere() -> None:
    for part in parts(COMMITTED):
        if "$ref" in part:
            _, _, kind, name = part["$ref"].split("/")
            assert name in COMMITTED["components"][kind], part


def test_every_declaration_has_its_comment() -> None:
    """The contracts comment everything; the document loses none of it."""
    for name, schema in SCHEMAS.items():
        assert schema.get("description"), name
        for field, value in schema.get("properties", {}).items():
            if not name.startswith(("live.", "gateway.")) and name != "Error":
                assert value.get("description"), f"{name}.{field}"
    assert all(operation["summary"] for operation in OPERATIONS)


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        (
            "telephony.Pop",
            "version",
            {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,18}$"},
        ),
        ("telephony.Pop", "ringTime", {"type": "string", "format": "date-time"}),
        ("telephony.Pop", "state", {"allOf": [{"$ref": "#/components/schemas/telephony.PopState"}]}),
        (
            "telephony.Pop",
            "callers",
            {"type": "array", "items": {"$ref": "#/components/schemas/telephony.Caller"}},
        ),
        (
            "identity.UpdatePersonRequest",
            "updateMask",
            {
                "type": "string",
                "pattern": "^([a-z][A-Za-z0-9]*([.,][a-z][A-Za-z0-9]*)*)?$",
                "example": "name,departmentId",
            },
        ),
        ("telephony.Sms", "segmentCount", {"type": "integer", "format": "int32"}),
    ],
)
def test_a_field_has_its_types_json_form(name: str, field: str, expected: dict[str, Any]) -> None:
    schema = {key: value for key, value in SCHEMAS[name]["properties"][field].items() if key != "description"}
    assert schema == expected


def test_an_answers_fields_are_required_and_a_requests_are_not() -> None:
    assert "popId" in SCHEMAS["telephony.Pop"]["required"]
    assert "ringTime" not in SCHEMAS["telephony.Pop"]["required"]
    assert "required" not in SCHEMAS["identity.Person.Input"]
    assert SCHEMAS["identity.Person.Input"]["additionalProperties"] is False


def test_a_field_that_the_path_gives_is_not_asked_for_again() -> None:
    assert set(SCHEMAS["customers.ReturnCustomerRequest"]["properties"]) == {"requestId", "reason", "poolId"}
    (parameter,) = (
        item
        for item in COMMITTED["paths"]["/api/v1/customers/{customerId}:return"]["post"]["parameters"]
        if item.get("in") == "path"
    )
    assert parameter["name"] == "customerId"


def test_an_enum_is_a_union_of_its_names() -> None:
    assert SCHEMAS["telephony.PopState"]["enum"][:2] == ["POP_STATE_UNSPECIFIED", "POP_STATE_RINGING"]
