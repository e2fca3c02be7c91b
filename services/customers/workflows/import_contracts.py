"""Ids, steps and payloads of the workflow that works on an import."""

from dataclasses import dataclass
from enum import StrEnum

from services.chassis.tenancy import Tenant
from services.customers.workflows.contracts import QUEUE

# Workflow type of an import's step; its activities bear the names of the steps.
RUN_IMPORT = "RunImport"


class ImportKind(StrEnum):
    """What is done with an import; the name of the activity that does it."""

    STAGE = "stage_import"
    CHECK = "check_import"
    COMMIT = "commit_import"


@dataclass(frozen=True)
class ImportStep:
    """A step of an import."""

    tenant: Tenant
    import_id: str
    kind: ImportKind


def import_workflow_id(import_id: str, step: int) -> str:
    """Return the id of the workflow that does an import's step of this number."""
    return f"import-{import_id}-{step}"


__all__ = ["QUEUE", "RUN_IMPORT", "ImportKind", "ImportStep", "import_workflow_id"]
