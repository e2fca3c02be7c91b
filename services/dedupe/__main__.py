"""python -m services.dedupe api | events | worker | migrate | check."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import MetaData

from services.chassis.service import Runtime, Service, main

if TYPE_CHECKING:
    import grpc

    from services.chassis.events import Handlers
    from services.chassis.temporal import WorkerBundle
    from services.dedupe.clients import Customers


def metadata() -> MetaData:
    """Return dedupe's tables."""
    # It brings its tables.
    from services.dedupe.store import moves  # noqa: F401  # their tables join the metadata
    from services.dedupe.store.tables import Base

    return Base.metadata


def _customers(runtime: Runtime) -> "Customers":
    from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub

    from services.dedupe.clients import Customers

    return Customers(runtime.client("customers", CustomersServiceStub))


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Serve DedupeService."""
    from crm.dedupe.v1.dedupe_pb2_grpc import add_DedupeServiceServicer_to_server

    from services.dedupe.api import DedupeApi

    add_DedupeServiceServicer_to_server(DedupeApi(runtime.store, _customers(runtime), runtime.signer), server)
    return ["crm.dedupe.v1.DedupeService"]


def handlers() -> "Handlers":
    """Return what dedupe takes from others."""
    from services.dedupe.events import handlers

    return handlers


def worker(runtime: Runtime) -> "WorkerBundle":
    """Return dedupe's workflow and activity."""
    from services.chassis.temporal import WorkerBundle
    from services.dedupe.workflows.activities import Activities
    from services.dedupe.workflows.contracts import QUEUE
    from services.dedupe.workflows.workflow import ScanDuplicates, SettleReservations

    activities = Activities(runtime.store, _customers(runtime))
    return WorkerBundle(
        QUEUE, [SettleReservations, ScanDuplicates], [activities.settle_due, activities.scan_batches]
    )


SERVICE = Service(name="dedupe", metadata=metadata, api=api, handlers=handlers, worker=worker)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
