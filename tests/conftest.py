"""What every test may stand on: private stores with two tenants' databases, migrated once, and a fresh tenant."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

from deploy.local.ports import LISTEN_PORTS
from deploy.local.stores import PrivateStores
from services.__main__ import load
from services.chassis.ids import new_id
from services.chassis.service import migrate
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Signer, generate_key

# A busy machine is not a failing example. A run tells of the change at hand, so it tries the same examples each time;
# `make fuzz` looks for new ones.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fuzz", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Every name that may sign tokens.
ISSUERS = (
    "identity",
    "dedupe",
    "customers",
    "leads",
    "orders",
    "approvals",
    "notify",
    "telephony",
    "gateway",
)

# Ports for each worker of a parallel run to pick from.
WORKER_PORTS = 4000


def pytest_configure() -> None:
    """Give each worker of a parallel run ports of its own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        first = LISTEN_PORTS.start + int(worker.removeprefix("gw")) * WORKER_PORTS
        os.environ["LISTEN_PORTS"] = f"{first}-{first + WORKER_PORTS - 1}"


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no type annotations
    """Keep a file's tests, and all the stories, with one worker: they share what they start."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/e2e" if file.startswith("tests/e2e/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Share the files of a parallel run out among its workers."""
    return ByFile(config, log)


@pytest.fixture(scope="session")
def stores() -> Iterator[PrivateStores]:
    """PostgreSQL, RabbitMQ and Temporal of our own, empty."""
    with PrivateStores(databases=("main", "south"), given=os.environ) as started:
        yield started


@pytest.fixture(scope="session")
def issuer_keys() -> dict[str, tuple[str, str]]:
    """A (private, public) key pair for every issuer."""
    return {issuer: generate_key() for issuer in ISSUERS}


@pytest.fixture(scope="session")
def environment(stores: PrivateStores, issuer_keys: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """The environment of a process that may speak as any issuer; addresses of services are for the test to add."""
    return {
        "DATABASE_URL": stores.database_urls["main"],
        "DATABASE_URL_SOUTH": stores.database_urls["south"],
        "AMQP_URL": stores.amqp_url,
        "TEMPORAL_ADDRESS": stores.temporal_address,
        "SIGNING_KEYS": json.dumps({issuer: private for issuer, (private, _) in issuer_keys.items()}),
        "TRUSTED_KEYS": json.dumps({issuer: public for issuer, (_, public) in issuer_keys.items()}),
    }


@pytest.fixture(scope="session")
def settings(environment: Mapping[str, str]) -> Settings:
    """The settings of that environment, over migrated databases and declared queues."""
    settings = Settings.read(environment)
    migrate(load(), settings)
    return settings


@pytest.fixture
def signer(issuer_keys: Mapping[str, tuple[str, str]]) -> Signer:
    """Identity's signer, to make persons' tokens with."""
    return Signer("identity", issuer_keys["identity"][0])


@pytest.fixture(params=["main", "south"])
def tenant(request: pytest.FixtureRequest) -> Tenant:
    """A tenant nobody used before, in each of the databases in turn."""
    return Tenant(new_id(), request.param)


@pytest.fixture
def main_tenant() -> Tenant:
    """A tenant nobody used before, in the home database, for tests that need no second run."""
    return Tenant(new_id(), "main")
