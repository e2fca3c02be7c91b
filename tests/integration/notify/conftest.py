"""Notify's store, without a relay: a test delivers what the outbox would."""

from collections.abc import Iterator

import pytest

from services.chassis.db import Store
from services.chassis.settings import Settings
from services.notify.__main__ import SERVICE


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    """Notify's store."""
    runtime = SERVICE.runtime(settings, {})
    yield runtime.store
    runtime.store.close()
