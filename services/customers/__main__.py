"""The processes of customers: python -m services.customers api | events | worker | migrate | check."""

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
    """Return the tables of customers."""
    # They bring their tables.
    from services.customers.store import (  # noqa: F401  # their tables join the metadata
        import_tables,
        merge_tables,
        record_tables,
        reveal_tables,
    )
    from services.customers.store.tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicer."""
    from crm.customers.v1.customers_pb2_grpc import add_CustomersServiceServicer_to_server
    from crm.customers.v1.exports_pb2_grpc import add_ExportsServiceServicer_to_server
    from crm.customers.v1.imports_pb2_grpc import add_ImportsServiceServicer_to_server
    from crm.customers.v1.merges_pb2_grpc import add_MergesServiceServicer_to_server
    from crm.customers.v1.numbers_pb2_grpc import add_NumbersServiceServicer_to_server
    from crm.customers.v1.pools_pb2_grpc import add_PoolsServiceServicer_to_server
    from crm.customers.v1.records_pb2_grpc import add_RecordsServiceServicer_to_server
    from crm.customers.v1.registry_pb2_grpc import add_RegistryServiceServicer_to_server
    from crm.customers.v1.reveals_pb2_grpc import add_RevealsServiceServicer_to_server
    from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
    from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

    from services.customers.api import CustomersApi
    from services.customers.api.details import DetailsApi
    from services.customers.api.exports import ExportsApi
    from services.customers.api.imports import ImportsApi
    from services.customers.api.merges import MergesApi
    from services.customers.api.numbers import NumbersApi
    from services.customers.api.pools import PoolsApi
    from services.customers.api.registry import RegistryApi
    from services.customers.api.reveals import RevealsApi
    from services.customers.clients import Dedupe, Identity
    from services.customers.registry import registry_from

    dedupe = Dedupe(runtime.client("dedupe", DedupeServiceStub))
    identity = Identity(runtime.client("identity", IdentityServiceStub))
    customers = CustomersApi(runtime.store, dedupe, identity)
    add_CustomersServiceServicer_to_server(customers, server)
    add_RecordsServiceServicer_to_server(DetailsApi(runtime.store, dedupe, customers), server)
    add_ImportsServiceServicer_to_server(ImportsApi(runtime.store, identity), server)
    add_ExportsServiceServicer_to_server(ExportsApi(runtime.store, identity), server)
    add_MergesServiceServicer_to_server(MergesApi(runtime.store), server)
    add_NumbersServiceServicer_to_server(NumbersApi(runtime.store), server)
    add_RegistryServiceServicer_to_server(RegistryApi(registry_from(runtime.environ)), server)
    add_RevealsServiceServicer_to_server(RevealsApi(runtime.store), server)
    add_PoolsServiceServicer_to_server(PoolsApi(runtime.store, identity), server)
    names = (
        "Customers",
        "Records",
        "Imports",
        "Exports",
        "Numbers",
        "Registry",
        "Pools",
        "Reveals",
        "Merges",
    )
    return [f"crm.customers.v1.{name}Service" for name in names]


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
    from services.customers.workflows.workflow import FollowMerge, HandOverCustomers, SweepPool, WatchExport

    activities = Activities(runtime.store)
    dedupe = Dedupe(runtime.client("dedupe", DedupeServiceStub))
    imports = ImportActivities(ImportSteps(runtime.store, dedupe))
    return WorkerBundle(
        QUEUE,
        [SweepPool, HandOverCustomers, RunImport, FollowMerge, WatchExport],
        [
            activities.sweep,
            activities.hand_over,
            activities.ask_followers_again,
            activities.end_silent_export,
            *imports.all,
        ],
    )


def import_source(runtime: Runtime, words: Sequence[str]) -> int:
    """Import customers from another database."""
    from services.customers.commands import import_source

    return import_source(runtime, words)


def measures() -> "Sequence[Measure]":
    """Return what customers measures of its tables."""
    from services.customers.store.measures import MEASURES

    return MEASURES


SERVICE = Service(
    name="customers",
    metadata=metadata,
    api=api,
    handlers=handlers,
    worker=worker,
    measures=measures,
    commands={"import-source": import_source},
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
