"""Sessions over a real server: the cookie and the bearer, what a foreign page cannot do, how soon one ends."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from crm.identity.v1 import identity_pb2 as identity

from services.chassis.errors import Unauthenticated
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, generate_key
from services.gateway.settings import Settings
from tests.integration.gateway.conftest import Script, serving
from tests.support.until import until

CREDENTIALS = {"tenant": "demo", "login": "wang", "password": "correct horse battery"}


@pytest.fixture
def sign_in(script: Script, main_tenant: Tenant) -> Caller:
    """Let identity open one session for whoever knows the password; the person."""
    secret, caller = script.person(main_tenant)

    def answer(request: identity.SignInRequest) -> identity.SignInResponse:
        if request.password != CREDENTIALS["password"]:
            raise Unauthenticated("INVALID_CREDENTIALS", "账号或密码错误", "Wrong login or password")
        response = identity.SignInResponse(
            session_token=secret, person=identity.Person(person_id=caller.person_id, login=request.login)
        )
        response.expire_time.FromJsonString("2099-01-02T03:04:05Z")
        return response

    script.answers["identity.SignIn"] = answer
    return caller


@pytest.fixture
def browser(http: httpx.Client, sign_in: Caller) -> httpx.Client:
    """A client that signed in as a page does."""
    answer = http.post("/api/v1/session", json=CREDENTIALS)
    assert answer.status_code == 200
    return http


def test_signing_in_sets_a_cookie_that_no_script_reads(
    http: httpx.Client, sign_in: Caller, script: Script
) -> None:
    answer = http.post("/api/v1/session", json=CREDENTIALS)
    assert answer.status_code == 200
    assert answer.json()["person"]["personId"] == sign_in.person_id
    assert answer.json()["expireTime"] == "2099-01-02T03:04:05Z"
    assert "sessionToken" not in answer.json()
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    assert name == "gonghai_session"
    assert {part.strip().lower() for part in attributes.split(";")[1:]} == {
        "expires=fri, 02 jan 2099 03:04:05 gmt",
        "httponly",
        "path=/",
        "samesite=strict",
    }
    assert script.asked("identity.SignIn")[0].caller.service == "gateway"
    assert http.get("/api/v1/me").status_code == 200


def test_the_cookie_is_secure_behind_tls(http: httpx.Client, sign_in: Caller) -> None:
    answer = http.post("/api/v1/session", json=CREDENTIALS, headers={"x-forwarded-proto": "https"})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_program_gets_the_secret_and_no_cookie(http: httpx.Client, sign_in: Caller) -> None:
    answer = http.post("/api/v1/session?token=true", json=CREDENTIALS)
    assert "set-cookie" not in answer.headers
    bearer = {"authorization": f"Bearer {answer.json()['sessionToken']}"}
    assert http.get("/api/v1/me", headers=bearer).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (CREDENTIALS | {"password": "wrong"}, 401, "INVALID_CREDENTIALS"),
        (CREDENTIALS | {"password": 7}, 400, "INVALID_FIELDS"),
        (CREDENTIALS | {"otp": "1"}, 400, "INVALID_FIELDS"),
    ],
)
def test_a_wrong_sign_in_is_refused(
    http: httpx.Client, sign_in: Caller, body: Mapping[str, Any], status: int, reason: str
) -> None:
    answer = http.post("/api/v1/session", json=body)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
    assert "set-cookie" not in answer.headers


def test_a_foreign_page_cannot_change_anything_with_the_cookie(browser: httpx.Client, script: Script) -> None:
    foreign = {"origin": "https://evil.example"}
    for headers in ({}, foreign, {"origin": "null"}):
        answer = browser.post("/api/v1/customers", json={"name": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "CROSS_SITE")
    assert browser.post("/api/v1/session", json=CREDENTIALS, headers=foreign).status_code == 403
    assert browser.delete("/api/v1/session", headers=foreign).status_code == 403
    assert script.asked("customers.CreateCustomer") == []


def test_our_own_page_can(browser: httpx.Client) -> None:
    own = str(browser.base_url).rstrip("/")
    for headers in ({"origin": own}, {"x-requested-with": "gonghai"}):
        assert browser.post("/api/v1/customers", json={"name": "x"}, headers=headers).status_code == 200


def test_signing_out_ends_the_session_at_once(browser: httpx.Client, script: Script) -> None:
    assert browser.get("/api/v1/me").status_code == 200
    secret = browser.cookies["gonghai_session"]
    answer = browser.delete("/api/v1/session", headers={"x-requested-with": "gonghai"})
    assert answer.status_code == 204
    assert browser.cookies.get("gonghai_session") is None
    again = browser.get("/api/v1/me", headers={"authorization": f"Bearer {secret}"})
    assert (again.status_code, again.json()["error"]["reason"]) == (401, "SESSION_ENDED")


@pytest.mark.parametrize("secret", ["nonsense", "main.0000", "a b", "Bearer", "\u00e9"])
def test_a_secret_that_opens_nothing_gets_nothing(http: httpx.Client, script: Script, secret: str) -> None:
    answer = http.get("/api/v1/me", headers={b"authorization": f"Bearer {secret}".encode()})
    assert answer.status_code == 401
    assert script.asked("identity.GetMe") == []


def test_one_exchange_serves_many_requests(http: httpx.Client, script: Script, main_tenant: Tenant) -> None:
    secret, _ = script.person(main_tenant)
    for _ in range(5):
        assert http.get("/api/v1/me", headers={"authorization": f"bearer {secret}"}).status_code == 200
    assert script.exchanges == 1


def test_a_change_of_rights_takes_a_new_token_by_itself(
    http: httpx.Client, script: Script, main_tenant: Tenant
) -> None:
    """Decision 7: services refuse an old epoch; the person notices nothing."""
    secret, _ = script.person(main_tenant)
    http.headers["authorization"] = f"Bearer {secret}"
    assert http.get("/api/v1/me").status_code == 200
    script.epoch = 2
    assert http.get("/api/v1/me").status_code == 200
    assert script.exchanges == 2


@pytest.fixture
def impatient(gateway_settings: Settings) -> Iterator[httpx.Client]:
    """A client of a gateway that trusts an exchange for half a second only."""
    with (
        serving(replace(gateway_settings, session_cache_s=0.5)) as address,
        httpx.Client(base_url=f"http://{address}", timeout=15) as client,
    ):
        yield client


def test_a_disabled_account_ends_when_the_cached_exchange_does(
    impatient: httpx.Client, script: Script, main_tenant: Tenant
) -> None:
    secret, _ = script.person(main_tenant)
    impatient.headers["authorization"] = f"Bearer {secret}"
    assert impatient.get("/api/v1/me").status_code == 200
    del script.sessions[secret]
    until(lambda: impatient.get("/api/v1/me").status_code == 401, timeout_s=5)


def test_a_gateway_whose_key_identity_does_not_trust_lets_nobody_in(
    gateway_settings: Settings, script: Script, main_tenant: Tenant
) -> None:
    secret, _ = script.person(main_tenant)
    stranger = replace(gateway_settings, signing_key=generate_key()[0])
    with serving(stranger) as address, httpx.Client(base_url=f"http://{address}") as client:
        answer = client.get("/api/v1/me", headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code == 401
    assert script.exchanges == 0


def test_services_that_are_away_are_said_to_be(gateway_settings: Settings) -> None:
    nobody = dict.fromkeys(gateway_settings.addresses, "ipv4:127.0.0.1:1")
    with (
        serving(replace(gateway_settings, addresses=nobody)) as address,
        httpx.Client(base_url=f"http://{address}", timeout=15) as client,
    ):
        answer = client.get("/api/v1/me", headers={"authorization": "Bearer x.y"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
