"""Dedupe's store over real databases."""

from collections.abc import Iterator

import pytest

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.settings import Settings
from services.dedupe.store.tables import Base


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Dedupe's store."""
    store = Store(settings.database_urls, Base.metadata, utc_now, pool_size=20)
    yield store
    store.close()
