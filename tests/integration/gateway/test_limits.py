"""One tenant that asks too much, before a real gateway: it is refused, and the other one does not notice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import httpx
import pytest
from crm.identity.v1 import identity_pb2 as identity

from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.gateway.limits import Allowances
from services.gateway.settings import Settings
from tests.integration.gateway.conftest import Script, serving
from tests.support.until import until


@pytest.fixture(scope="module")
def narrow(gateway_settings: Settings) -> Iterator[str]:
    """A gateway that lets a tenant have three requests at work, and an address sign in twice."""
    allowances = Allowances(requests_per_second=1000, in_flight=3, sign_ins_per_minute=2)
    with serving(replace(gateway_settings, allowances=allowances)) as address:
        yield address


def test_a_tenant_that_takes_everything_is_refused_and_another_one_is_answered(
    narrow: str, script: Script
) -> None:
    """Limits by tenant: slow requests of one fill its share, not the gateway's and not the services'."""
    greedy, modest = (script.person(Tenant(new_id(), "main"))[0] for _ in range(2))
    release = Event()

    def slow(_request: Any) -> identity.GetMeResponse:
        assert release.wait(30)
        return identity.GetMeResponse()

    def get(path: str, secret: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {secret}"}
        return httpx.get(f"http://{narrow}{path}", headers=headers, timeout=40)

    script.answers["identity.GetMe"] = slow
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(get, "/api/v1/me", greedy) for _ in range(8)]
        try:
            until(lambda: sum(answer.done() for answer in answers) == 5, timeout_s=30)
            refused = [answer.result() for answer in answers if answer.done()]
            other = get("/api/v1/departments", modest)
        finally:
            release.set()
        answered = [answer.result().status_code for answer in answers]
    assert other.status_code == 200
    assert sorted(answered) == [200] * 3 + [429] * 5
    assert {item.json()["error"]["reason"] for item in refused} == {"TENANT_BUSY"}
    assert {item.headers["retry-after"] for item in refused} == {"1"}
    assert get("/api/v1/me", greedy).status_code == 200


def test_an_address_that_guesses_passwords_is_slowed_down(narrow: str, script: Script) -> None:
    credentials = {"tenant": "demo", "login": "wang", "password": "guessed"}
    answers = [httpx.post(f"http://{narrow}/api/v1/session", json=credentials) for _ in range(3)]
    assert [answer.status_code for answer in answers][-1] == 429
    assert answers[-1].json()["error"]["reason"] == "TOO_MANY_SIGN_INS"
    assert int(answers[-1].headers["retry-after"]) > 0
    assert len(script.asked("identity.SignIn")) == 2
