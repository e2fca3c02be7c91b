"""Workflow histories: recorded from real runs, committed, and replayed against today's workflows.

A change that breaks a running workflow shows as a failed replay. `RECORD_HISTORIES=1 make test` writes them anew.
"""

import os
import re
from pathlib import Path

from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer

HISTORIES = Path(__file__).resolve().parents[1] / "fixtures" / "histories"


async def record(service: str, name: str, handle: WorkflowHandle[object, object]) -> None:
    """Keep the history of a run as tests/fixtures/histories/<service>/<name>.json, when asked to."""
    if os.environ.get("RECORD_HISTORIES"):
        file = HISTORIES / service / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (await handle.fetch_history()).to_json()
        # Which process it was is nobody's business later.
        file.write_text(re.sub(r'"\d+@[^"]+"', '"worker"', text) + "\n")


def recorded(service: str) -> list[Path]:
    """Return the histories of a service's workflows."""
    return sorted((HISTORIES / service).glob("*.json"))


async def replay(workflow: type, history: Path) -> None:
    """Replay a history; raises when the workflow would do something else today."""
    text = history.read_text()
    await Replayer(workflows=[workflow]).replay_workflow(WorkflowHistory.from_json(history.stem, text))
