"""Workflows that run while a new version is deployed go on as they began."""

from pathlib import Path

import pytest

from services.approvals.workflows.workflow import ApprovalWorkflow
from tests.support.histories import recorded, replay

HISTORIES = recorded("approvals")


@pytest.mark.parametrize("history", HISTORIES, ids=lambda file: file.stem)
async def test_a_recorded_run_is_replayed_as_it_was(history: Path) -> None:
    await replay(ApprovalWorkflow, history)


def test_there_are_histories_to_replay() -> None:
    assert {file.stem for file in HISTORIES} == {"passed", "reminded", "leaver"}
