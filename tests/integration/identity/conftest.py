"""Identity served over a real channel, and a company with some staff."""

from collections.abc import Iterator, Mapping

import pytest

from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.identity.__main__ import SERVICE
from tests.support.served import served
from tests.support.staff import Company, new_company


@pytest.fixture(scope="module")
def address(settings: Settings) -> Iterator[str]:
    """Identity's address."""
    with served(SERVICE, settings) as address:
        yield address


@pytest.fixture(scope="module")
def runtime(settings: Settings, environment: Mapping[str, str]) -> Iterator[Runtime]:
    """Identity as its commands see it."""
    runtime = SERVICE.runtime(settings, environment)
    yield runtime
    runtime.store.close()


@pytest.fixture(params=["main", "south"])
def company(
    request: pytest.FixtureRequest,
    runtime: Runtime,
    address: str,
    issuer_keys: Mapping[str, tuple[str, str]],
) -> Company:
    """A tenant in each of the databases in turn: 华东 and 华南 below the root."""
    company = new_company(runtime, address, issuer_keys, request.param)
    company.add_department("华东")
    company.add_department("华南")
    return company
