"""An expiry of contracts that runs while a new version is deployed goes on as it began."""

from pathlib import Path

import pytest

from services.orders.workflows.workflow import ExpireContracts
from tests.support.histories import recorded, replay

HISTORIES = recorded("orders")


@pytest.mark.parametrize("history", HISTORIES, ids=lambda file: file.stem)
async def test_a_recorded_run_is_replayed_as_it_was(history: Path) -> None:
    await replay(ExpireContracts, history)


def test_there_are_histories_to_replay() -> None:
    assert {file.stem for file in HISTORIES} == {"expired"}
