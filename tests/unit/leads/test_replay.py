"""Conversions and pushes that run while a new version is deployed go on as they began."""

from pathlib import Path

import pytest

from services.leads.workflows.push import PushLeads
from services.leads.workflows.workflow import ConvertLead
from tests.support.histories import recorded, replay

HISTORIES = recorded("leads")


@pytest.mark.parametrize("history", HISTORIES, ids=lambda file: file.stem)
async def test_a_recorded_workflow_is_replayed_as_it_was(history: Path) -> None:
    await replay(PushLeads if history.stem == "push" else ConvertLead, history)


def test_there_are_histories_to_replay() -> None:
    assert {file.stem for file in HISTORIES} == {"asked", "linked", "new", "push", "race", "refused"}
