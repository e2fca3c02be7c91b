"""The HTTP API over a real server: JSON in, gRPC to a scripted service, JSON or a clear refusal out."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from crm.customers.v1 import customers_pb2 as customers
from crm.identity.v1 import identity_pb2 as identity

from services.chassis.errors import (
    AlreadyExists,
    AppError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    Quota,
    RuleViolation,
    Unavailable,
)
from services.chassis.tokens import Caller
from tests.integration.gateway.conftest import Script

SignedIn = tuple[httpx.Client, Caller]
CUSTOMER = "018f0000-0000-7000-8000-000000000001"


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error that a response holds, after a look at its shape."""
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"code", "reason", "message", "metadata", "fields"}
    return error


def test_a_person_gets_an_answer_with_every_field(signed_in: SignedIn, script: Script) -> None:
    """The client knows the shape of an answer before it has one: fields without presence are always there."""
    http, caller = signed_in
    script.answers["identity.GetMe"] = lambda _: identity.GetMeResponse(
        person=identity.Person(person_id=caller.person_id, name="王伟", version=12), tenant_name="测试公司"
    )
    answer = http.get("/api/v1/me")
    assert answer.status_code == 200
    assert answer.json() == {
        "tenantName": "测试公司",
        "person": {
            "personId": caller.person_id,
            "login": "",
            "name": "王伟",
            "mobile": "",
            "extension": "",
            "departmentId": "",
            "roles": [],
            "active": False,
            "rights": [],
            "scope": "DATA_SCOPE_UNSPECIFIED",
            "version": "12",
            "post": "",
            "regionDepartmentIds": [],
        },
    }
    assert answer.headers["cache-control"] == "no-store"
    assert script.asked("identity.GetMe")[0].caller.person_id == caller.person_id


def test_the_request_id_and_the_language_go_along(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in
    named = http.get(
        "/api/v1/me", headers={"x-request-id": "from-outside.1", "accept-language": "en-GB,zh;q=0.5"}
    )
    assert named.headers["x-request-id"] == "from-outside.1"
    odd = http.get("/api/v1/me", headers={"x-request-id": "with spaces"})
    assert uuid.UUID(odd.headers["x-request-id"])
    first, second = (request.metadata for request in script.asked("identity.GetMe"))
    assert (first["x-request-id"], first["accept-language"]) == ("from-outside.1", "en")
    assert (second["x-request-id"], second["accept-language"]) == (odd.headers["x-request-id"], "zh-CN")


def test_a_path_field_inside_a_message_is_bound(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in
    script.answers["identity.UpdatePerson"] = lambda request: identity.UpdatePersonResponse(
        person=request.person
    )
    answer = http.patch(
        "/api/v1/people/P1", json={"person": {"name": "李娜", "version": "3"}, "updateMask": "name"}
    )
    assert answer.status_code == 200
    assert answer.json()["person"]["personId"] == "P1"
    (request,) = script.asked("identity.UpdatePerson")
    assert (request.message.person.name, request.message.person.version) == ("李娜", 3)
    assert list(request.message.update_mask.paths) == ["name"]


def test_a_custom_verb_and_a_collection_verb_are_routed(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in
    assert http.post(f"/api/v1/pops/{CUSTOMER}:close").status_code == 200
    assert script.asked("telephony.ClosePop")[0].message.pop_id == CUSTOMER
    assert http.post("/api/v1/customers:claim", json={"customerIds": [CUSTOMER]}).status_code == 200
    assert list(script.asked("customers.ClaimCustomers")[0].message.customer_ids) == [CUSTOMER]


def test_query_parameters_become_fields(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in
    query: dict[str, str | int] = {"view": "CUSTOMER_VIEW_POOL", "query": "苏州", "pageSize": 20}
    assert http.get("/api/v1/customers", params=query).status_code == 200
    assert http.get("/api/v1/messages", params={"unreadOnly": "true"}).status_code == 200
    (listed,) = script.asked("customers.ListCustomers")
    assert listed.message == customers.ListCustomersRequest(
        view=customers.CUSTOMER_VIEW_POOL, query="苏州", page_size=20
    )
    assert script.asked("notify.ListMessages")[0].message.unread_only is True


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"view": "POOL"}, "view"),
        ({"view": "2"}, "view"),
        ({"pageSize": "many"}, "pageSize"),
        ({"page_size": "2"}, "page_size"),
        ({"query": ["a", "b"]}, "query"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_query_that_the_contract_does_not_know_is_refused_by_field(
    signed_in: SignedIn, script: Script, query: dict[str, Any], field: str
) -> None:
    http, _ = signed_in
    answer = http.get("/api/v1/customers", params=query)
    assert answer.status_code == 400
    assert [fault["field"] for fault in error_of(answer)["fields"]] == [field]
    assert script.asked("customers.ListCustomers") == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"nmae": "x"}, ["nmae"]),
        ({"name": 5}, ["name"]),
        ({"name": "a\0b"}, ["name"]),
        ({"name": ["x"], "phones": {"number": "1"}}, ["name", "phones"]),
        ({"phones": ["138"]}, ["phones[0]"]),
        ({"contacts": [{"phones": [{"number": "1"}, {"numbr": "2"}]}]}, ["contacts[0].phones[1].numbr"]),
        (
            {"contacts": [{"phones": [{"number": 1}]}], "level": False},
            ["contacts[0].phones[0].number", "level"],
        ),
    ],
)
def test_every_field_that_cannot_be_read_is_named(
    signed_in: SignedIn, script: Script, body: dict[str, Any], fields: list[str]
) -> None:
    """Issue 2: malformed JSON gets a field-level error."""
    http, _ = signed_in
    answer = http.post("/api/v1/customers", json=body)
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [fault["field"] for fault in error["fields"]] == fields
    assert all(fault["message"] for fault in error["fields"])
    assert script.asked("customers.CreateCustomer") == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"nonsense",
        b"\xff\xfe{}",
        b'{"name": NaN}',
        b'{"name": "a", "name": "b"}',
        b'{"name": ' + b"[" * 100_000,
        b'{"name": "\\ud800"}',
        b'{"name": 1' + b"0" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_json_object_is_refused(signed_in: SignedIn, body: bytes) -> None:
    http, _ = signed_in
    answer = http.post("/api/v1/customers", content=body)
    assert answer.status_code == 400
    assert error_of(answer)["reason"] == "INVALID_FIELDS"


def test_a_body_beyond_the_limit_is_refused(signed_in: SignedIn) -> None:
    http, _ = signed_in
    answer = http.post("/api/v1/customers", json={"name": "x" * 1_100_000})
    assert answer.status_code == 413
    assert error_of(answer)["reason"] == "BODY_TOO_LARGE"


def test_a_body_that_contradicts_the_path_is_refused(signed_in: SignedIn) -> None:
    http, _ = signed_in
    answer = http.patch("/api/v1/people/P1", json={"person": {"personId": "P2"}})
    assert answer.status_code == 400
    assert error_of(answer)["fields"][0]["field"] == "person.personId"


def test_a_mutation_without_a_request_id_gets_one(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in
    key, own = str(uuid.uuid4()), str(uuid.uuid4())
    http.post("/api/v1/customers", json={"name": "x"}, headers={"idempotency-key": key})
    http.post("/api/v1/customers", json={"name": "x"}, headers={"idempotency-key": "no uuid"})
    http.post("/api/v1/customers", json={"name": "x", "requestId": own}, headers={"idempotency-key": key})
    first, second, third = (
        request.message.request_id for request in script.asked("customers.CreateCustomer")
    )
    assert (first, third) == (key, own)
    assert uuid.UUID(second)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("NO_SUCH", "没有{id}", "No {id}", id="7"), 404),
        (Forbidden("RIGHT_MISSING", "不可", "No"), 403),
        (AlreadyExists("KEY_HELD", "已占用", "Held"), 409),
        (Conflict("VERSION_CHANGED", "已变更", "Changed"), 409),
        (RuleViolation("LOCKED", "已锁定", "Locked"), 400),
        (Quota("TOO_MANY", "太多", "Too many", retry_after_s=7), 429),
        (Unavailable("BROKER_DOWN", "暂停", "Down"), 503),
        (OutcomeUnknown("LOST", "结果未知", "Unknown"), 504),
    ],
)
def test_a_services_refusal_keeps_its_reason_and_gets_its_status(
    signed_in: SignedIn, script: Script, error: AppError, status: int
) -> None:
    http, _ = signed_in
    script.refuse("customers.GetCustomer", error)
    chinese = http.get(f"/api/v1/customers/{CUSTOMER}")
    english = http.get(f"/api/v1/customers/{CUSTOMER}", headers={"accept-language": "en"})
    assert chinese.status_code == english.status_code == status
    expected = {"code": error.code, "reason": error.reason, "metadata": dict(error.metadata), "fields": []}
    assert error_of(chinese) == expected | {"message": error.zh}
    assert error_of(english) == expected | {"message": error.en}
    assert chinese.headers.get("retry-after") == {429: "7", 503: "1"}.get(status)


def test_a_services_field_error_names_the_field_as_json_does(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in
    refusal = InvalidInput("contacts[0].phones[1].phone_id", "BAD_PHONE", "号码有误", "Bad number")
    script.refuse("customers.CreateCustomer", refusal)
    error = error_of(http.post("/api/v1/customers", json={"name": "x"}))
    assert error["fields"] == [{"field": "contacts[0].phones[1].phoneId", "message": "号码有误"}]


def test_a_fault_of_a_service_tells_nothing(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in

    def fail(_request: Any) -> Any:
        raise ZeroDivisionError("a secret detail")

    script.answers["customers.GetCustomer"] = fail
    answer = http.get(f"/api/v1/customers/{CUSTOMER}")
    assert answer.status_code == 500
    assert error_of(answer)["reason"] == "INTERNAL"
    assert "secret" not in answer.text


def test_a_right_that_is_missing_is_refused_by_the_service(signed_in: SignedIn) -> None:
    http, _ = signed_in
    answer = http.get("/api/v1/sms")
    assert answer.status_code == 403
    assert error_of(answer)["reason"] == "RIGHT_MISSING"


@pytest.mark.parametrize(
    ("ask", "status", "reason"),
    [
        (lambda http: http.get("/api/v1/nothing"), 404, "NO_SUCH_PATH"),
        (lambda http: http.post(f"/api/v1/customers/{CUSTOMER}:explode"), 404, "NO_SUCH_PATH"),
        (lambda http: http.delete(f"/api/v1/customers/{CUSTOMER}"), 405, "NO_SUCH_METHOD"),
    ],
)
def test_an_unknown_path_or_verb_has_the_same_shape(
    signed_in: SignedIn, ask: Callable[[httpx.Client], httpx.Response], status: int, reason: str
) -> None:
    http, _ = signed_in
    answer = ask(http)
    assert (answer.status_code, error_of(answer)["reason"]) == (status, reason)


def test_every_annotated_rpc_is_reachable(signed_in: SignedIn, script: Script, http: httpx.Client) -> None:
    """Each route of the committed contract answers something other than "no such path"."""
    document = http.get("/api/openapi.json").json()
    for path, operations in document["paths"].items():
        for verb in operations:
            if not path.endswith(("/live", "/session")):
                answer = http.request(verb, path.replace("{", "").replace("}", ""))
                assert answer.status_code in {200, 403}, f"{verb} {path}: {answer.text}"


def test_healthz_and_faults_carry_the_policy(http: httpx.Client) -> None:
    health = http.get("/healthz")
    assert health.json() == {"status": "serving", "subscribed": False}
    refused = http.get("/api/v1/me")
    assert refused.status_code == 401
    assert error_of(refused)["reason"] == "NOT_SIGNED_IN"
    for answer in (health, refused):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


def test_a_large_answer_is_compressed(signed_in: SignedIn, script: Script) -> None:
    http, _ = signed_in
    script.answers["customers.ListCustomers"] = lambda _: customers.ListCustomersResponse(
        customers=[customers.Customer(name="苏州某某科技有限公司") for _ in range(100)]
    )
    answer = http.get("/api/v1/customers")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(json.loads(answer.text)["customers"]) == 100
