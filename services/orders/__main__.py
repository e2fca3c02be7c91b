"""Run a process of orders: `python -m services.orders api | events | worker | migrate | check`."""

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
    """Return the tables."""
    # It brings its tables.
    from services.orders.store import moves  # noqa: F401  # their tables join the metadata
    from services.orders.store.tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicers."""
    from crm.orders.v1 import fields_pb2_grpc, orders_pb2_grpc, printing_pb2_grpc, quotes_pb2_grpc

    from services.orders.api import OrdersApi
    from services.orders.fields_api import FieldsApi
    from services.orders.printing_api import PrintingApi
    from services.orders.quotes_api import QuotesApi

    orders_pb2_grpc.add_OrdersServiceServicer_to_server(OrdersApi(runtime.store), server)
    quotes_pb2_grpc.add_QuotesServiceServicer_to_server(QuotesApi(runtime.store), server)
    printing_pb2_grpc.add_PrintingServiceServicer_to_server(PrintingApi(runtime.store), server)
    fields_pb2_grpc.add_FieldsServiceServicer_to_server(FieldsApi(runtime.store), server)
    return [f"crm.orders.v1.{name}Service" for name in ("Orders", "Quotes", "Printing", "Fields")]


def handlers() -> "Handlers":
    """Return the events it takes."""
    from services.orders.events import handlers

    return handlers


def worker(runtime: Runtime) -> "WorkerBundle":
    """Return the workflow and its activity."""
    from services.chassis.temporal import WorkerBundle
    from services.orders.workflows.activities import ExpiryActivities
    from services.orders.workflows.contracts import QUEUE
    from services.orders.workflows.workflow import ExpireContracts

    return WorkerBundle(QUEUE, [ExpireContracts], [ExpiryActivities(runtime.store).expire])


SERVICE = Service(name="orders", metadata=metadata, api=api, handlers=handlers, worker=worker)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
