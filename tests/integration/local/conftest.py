"""Fixtures of the one-machine stack's tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def state_directory() -> Iterator[Path]:
    """Give a folder that the stores' own user can go to; pytest's is closed to others."""
    with tempfile.TemporaryDirectory(prefix="gonghai-test-") as path:
        directory = Path(path)
        directory.chmod(0o755)
        yield directory
