"""The API's document against the gateway that it describes: every operation, with requests made from the document.

The services are scripted and answer with what is empty: it is the door that is tried here. New requests each time:
`make fuzz`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from crm.identity.v1 import identity_pb2
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from services.chassis.declarations import access_of
from services.chassis.tenancy import Tenant
from services.gateway.limits import Allowances
from services.gateway.routes import routes
from services.gateway.settings import Settings
from tests.integration.gateway.conftest import Script, serving

DOCUMENT = json.loads((Path(__file__).resolve().parents[3] / "services/gateway/openapi.json").read_text())
# No text may hold NUL: the document says it in words, once.
CONFIG = SchemathesisConfig(
    projects=ProjectsConfig(default=ProjectConfig(generation=GenerationConfig(allow_x00=False)))
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
OPERATIONS = [SCHEMA[path][method] for path, item in DOCUMENT["paths"].items() for method in item]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# Requests of each operation, for each kind; many more where somebody looks for new ones.
EXAMPLES = 30 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 1
# Of one test, in seconds, on a busy machine.
LONGEST_S = 60 * EXAMPLES + 240


# Nothing is refused for a right.
EVERY_RIGHT = frozenset(
    access.right for route in routes() if (access := access_of(route.rpc_path)) and access.right
)


@pytest.fixture(autouse=True)
def signing_in(script: Script) -> None:
    """A sign-in's answer has what identity's always has."""
    answer = identity_pb2.SignInResponse(session_token="secret", person=identity_pb2.Person(login="wang"))
    answer.expire_time.FromJsonString("2099-01-02T03:04:05Z")
    script.answers["identity.SignIn"] = lambda _: answer


@pytest.fixture(scope="module")
def unbounded(gateway_settings: Settings) -> Iterator[str]:
    """A gateway that takes as much as it is asked."""
    with serving(replace(gateway_settings, allowances=Allowances(0, 0, 0))) as address:
        yield f"http://{address}"


def attempt_all(mode: GenerationMode, url: str, script: Script, tenant: Tenant) -> list[str]:
    """Send requests of every operation, each with a session of its own: one of them ends it; return what is wrong."""
    return [
        each
        for operation in OPERATIONS
        for each in attempt(operation, mode, url, script.person(tenant, rights=EVERY_RIGHT)[0])
    ]


def attempt(operation: Any, mode: GenerationMode, url: str, secret: str) -> list[str]:
    """Send requests of an operation; return what is wrong with the answers."""
    wrong: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        case.headers = {**(case.headers or {}), "authorization": f"Bearer {secret}"}
        answer = case.call(base_url=url)
        try:
            case.validate_response(answer, checks=CHECKS)
        except (AssertionError, FailureGroup) as error:
            wrong.append(f"{case.method} {case.path}: {error}")
        # A schema cannot say that what stands in the body too is what the path names.
        if (
            mode is GenerationMode.POSITIVE
            and answer.status_code == 400
            and not differs_from_path(answer.json())
        ):
            wrong.append(f"{case.method} {case.path} refuses what the document allows: {answer.text[:500]}")

    send()
    return wrong


def differs_from_path(answer: Mapping[str, Any]) -> bool:
    """Tell whether a request was refused only because its body says otherwise than its path."""
    return {fault["message"] for fault in answer["error"]["fields"]} == {"与地址中的不一致"}


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.hypothesis
def test_what_the_document_allows_is_taken(unbounded: str, script: Script, main_tenant: Tenant) -> None:
    assert attempt_all(GenerationMode.POSITIVE, unbounded, script, main_tenant) == []


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.hypothesis
def test_what_the_document_forbids_is_refused_and_nothing_breaks(
    unbounded: str, script: Script, main_tenant: Tenant
) -> None:
    """No answer but those that are named, whatever is sent: 4xx with the error's shape, never a fault of ours."""
    assert attempt_all(GenerationMode.NEGATIVE, unbounded, script, main_tenant) == []
