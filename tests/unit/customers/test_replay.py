"""Workflows that run while a new version is deployed go on as they began."""

from pathlib import Path

import pytest

from services.customers.workflows.import_workflow import RunImport
from services.customers.workflows.workflow import FollowMerge, HandOverCustomers, SweepPool, WatchExport
from tests.support.histories import recorded, replay

HISTORIES = recorded("customers")
WORKFLOWS: dict[str, type] = {
    "broken_export": WatchExport,
    "followed": FollowMerge,
    "hand_over": HandOverCustomers,
    "import": RunImport,
    "sweep": SweepPool,
}


@pytest.mark.parametrize("history", HISTORIES, ids=lambda file: file.stem)
async def test_a_recorded_run_is_replayed_as_it_was(history: Path) -> None:
    await replay(WORKFLOWS[history.stem], history)


def test_there_are_histories_to_replay() -> None:
    assert {file.stem for file in HISTORIES} == set(WORKFLOWS)
