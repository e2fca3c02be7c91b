"""The processes of customers: python -m services.customers api | events | worker | migrate | check."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import MetaData

from services.chassis.service import Runtime, Service, main

if TYPE_CHECKING:
    import grpc

    from services.chassis.events import Handlers
    from services.chassis.temporal import WorkerBundle


def metadata() -> MetaData:
    """Return the tables of customers."""
    from services.customers.store.import_tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicer."""
    from crm.customers.v1.customers_pb2_grpc import add_CustomersServiceServicer_to_server
    from crm.customers.v1.imports_pb2_grpc import add_ImportsServiceServicer_to_server
    from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
    from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

    from services.customers.api import CustomersApi
    from services.customers.api.imports import ImportsApi
    from services.customers.clients import Dedupe, Identity

    dedupe = Dedupe(runtime.client("dedupe", DedupeServiceStub))
    identity = Identity(runtime.client("identity", IdentityServiceStub))
    add_CustomersServiceServicer_to_server(CustomersApi(runtime.store, dedupe, identity), server)
    add_ImportsServiceServicer_to_server(ImportsApi(runtime.store, identity), server)
    return [f"crm.customers.v1.{name}Service" for name in ("Customers", "Imports")]


def handlers() -> "Handlers":
    """Return what customers takes from others."""
    from services.customers.events import handlers

    return handlers


def worker(runtime: Runtime) -> "WorkerBundle":
    """Return the workflows and the activities of customers."""
    from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub

    from services.chassis.temporal import WorkerBundle
    from services.customers.clients import Dedupe
    from services.customers.workflows.activities import Activities
    from services.customers.workflows.contracts import QUEUE
    from services.customers.workflows.import_activities import ImportActivities, ImportSteps
    from services.customers.workflows.import_workflow import RunImport
    from services.customers.workflows.workflow import SweepPool

    activities = Activities(runtime.store)
    dedupe = Dedupe(runtime.client("dedupe", DedupeServiceStub))
    imports = ImportActivities(ImportSteps(runtime.store, dedupe))
    return WorkerBundle(QUEUE, [SweepPool, RunImport], [activities.sweep, *imports.all])


SERVICE = Service(name="customers", metadata=metadata, api=api, handlers=handlers, worker=worker)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
