"""Run a process of orders: `python -m services.orders api | events | migrate | check`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import MetaData

from services.chassis.service import Runtime, Service, main

if TYPE_CHECKING:
    import grpc

    from services.chassis.events import Handlers


def metadata() -> MetaData:
    """Return the tables."""
    from services.orders.store.tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicer."""
    from crm.orders.v1 import orders_pb2_grpc

    from services.orders.api import OrdersApi

    orders_pb2_grpc.add_OrdersServiceServicer_to_server(OrdersApi(runtime.store), server)
    return ["crm.orders.v1.OrdersService"]


def handlers() -> "Handlers":
    """Return the events it takes."""
    from services.orders.events import handlers

    return handlers


SERVICE = Service(name="orders", metadata=metadata, api=api, handlers=handlers)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
