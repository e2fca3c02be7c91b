"""Run a process of approvals: `python -m services.approvals api | events | worker | migrate | check`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import MetaData

from services.chassis.service import Runtime, Service, main

if TYPE_CHECKING:
    import grpc

    from services.chassis.events import Handlers
    from services.chassis.measures import Measure
    from services.chassis.temporal import WorkerBundle


def metadata() -> MetaData:
    """Return the tables."""
    from services.approvals.store.tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicer."""
    from crm.approvals.v1 import approvals_pb2_grpc

    from services.approvals.api import ApprovalsApi

    approvals_pb2_grpc.add_ApprovalsServiceServicer_to_server(ApprovalsApi(runtime), server)
    return ["crm.approvals.v1.ApprovalsService"]


def handlers() -> "Handlers":
    """Return what it takes from other services."""
    from services.approvals.events import handlers

    return handlers


def worker(runtime: Runtime) -> "WorkerBundle":
    """Return the workflow and its activities."""
    from services.approvals.clients import Identity
    from services.approvals.workflows.activities import ApprovalActivities
    from services.approvals.workflows.contracts import QUEUE
    from services.approvals.workflows.workflow import ApprovalWorkflow
    from services.chassis.temporal import WorkerBundle

    activities = ApprovalActivities(runtime.store, Identity(runtime))
    return WorkerBundle(QUEUE, [ApprovalWorkflow], activities.all())


def measures() -> "Sequence[Measure]":
    """Return what approvals measures of its tables."""
    from services.approvals.store.measures import MEASURES

    return MEASURES


SERVICE = Service(
    name="approvals", metadata=metadata, api=api, handlers=handlers, worker=worker, measures=measures
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
