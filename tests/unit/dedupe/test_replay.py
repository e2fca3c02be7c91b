"""Workflows that run while a new version is deployed go on as they began."""

from pathlib import Path

import pytest

from services.dedupe.workflows.workflow import ScanDuplicates, SettleReservations
from tests.support.histories import recorded, replay

HISTORIES = recorded("dedupe")
WORKFLOWS: dict[str, type] = {"scan": ScanDuplicates, "settle": SettleReservations}


@pytest.mark.parametrize("history", HISTORIES, ids=lambda file: file.stem)
async def test_a_recorded_run_is_replayed_as_it_was(history: Path) -> None:
    await replay(WORKFLOWS[history.stem], history)


def test_there_are_histories_to_replay() -> None:
    assert {file.stem for file in HISTORIES} == set(WORKFLOWS)
