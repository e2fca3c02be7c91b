"""Run a process of leads: `python -m services.leads api | events | worker | migrate | check`."""

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
    # It brings its tables.
    from services.leads.store import moves  # noqa: F401  # their tables join the metadata
    from services.leads.store.tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicers."""
    from crm.leads.v1 import fields_pb2_grpc, leads_pb2_grpc, pools_pb2_grpc

    from services.leads.api import LeadsApi
    from services.leads.fields_api import FieldsApi
    from services.leads.pools_api import LeadPoolsApi

    leads_pb2_grpc.add_LeadsServiceServicer_to_server(LeadsApi(runtime), server)
    fields_pb2_grpc.add_FieldsServiceServicer_to_server(FieldsApi(runtime.store), server)
    pools_pb2_grpc.add_LeadPoolsServiceServicer_to_server(LeadPoolsApi(runtime.store), server)
    return [
        "crm.leads.v1.LeadsService",
        "crm.leads.v1.FieldsService",
        "crm.leads.v1.LeadPoolsService",
    ]


def handlers() -> "Handlers":
    """Return the events it takes."""
    from services.leads.events import handlers

    return handlers


def worker(runtime: Runtime) -> "WorkerBundle":
    """Return the workflows and their activities."""
    from services.chassis.temporal import WorkerBundle
    from services.leads.clients import Customers, Dedupe, Identity
    from services.leads.workflows.activities import ConversionActivities, PoolActivities, PushActivities
    from services.leads.workflows.contracts import QUEUE, RPC_TIMEOUT_S
    from services.leads.workflows.pool import SweepLeadPool
    from services.leads.workflows.push import PushLeads
    from services.leads.workflows.workflow import ConvertLead

    identity = Identity(runtime, RPC_TIMEOUT_S)
    conversion = ConversionActivities(
        runtime.store, identity, Dedupe(runtime, RPC_TIMEOUT_S), Customers(runtime, RPC_TIMEOUT_S)
    )
    return WorkerBundle(
        QUEUE,
        [ConvertLead, SweepLeadPool, PushLeads],
        [
            *conversion.all(),
            PoolActivities(runtime.store).sweep,
            PushActivities(runtime.store, identity).push,
        ],
    )


def measures() -> "Sequence[Measure]":
    """Return what leads measures of its tables."""
    from services.leads.store.measures import MEASURES

    return MEASURES


SERVICE = Service(
    name="leads", metadata=metadata, api=api, handlers=handlers, worker=worker, measures=measures
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
