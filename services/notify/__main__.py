"""Run a process of notify: `python -m services.notify api | events | worker | migrate | check`."""

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
    from services.notify.store import moves  # noqa: F401  # their tables join the metadata
    from services.notify.store.tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicer."""
    from crm.notify.v1 import mails_pb2_grpc, notices_pb2_grpc, notify_pb2_grpc

    from services.notify.api import NotifyApi
    from services.notify.clients import Customers, Orders, Telephony
    from services.notify.mails_api import BulkMailApi
    from services.notify.notices_api import NoticesApi

    notify_pb2_grpc.add_NotifyServiceServicer_to_server(NotifyApi(runtime.store, Orders(runtime)), server)
    notices_pb2_grpc.add_NoticesServiceServicer_to_server(
        NoticesApi(runtime.store, Telephony(runtime)), server
    )
    mails_pb2_grpc.add_BulkMailServiceServicer_to_server(
        BulkMailApi(runtime.store, Customers(runtime)), server
    )
    return ["crm.notify.v1.NotifyService", "crm.notify.v1.NoticesService", "crm.notify.v1.BulkMailService"]


def handlers() -> "Handlers":
    """Return what it takes from other services."""
    from services.notify.events import handlers

    return handlers


def worker(runtime: Runtime) -> "WorkerBundle":
    """Return the workflow and its activity."""
    from services.chassis.temporal import WorkerBundle
    from services.notify.channels import read_ways
    from services.notify.clients import Identity, Orders, Telephony
    from services.notify.workflows.activities import ReminderActivities
    from services.notify.workflows.contracts import QUEUE
    from services.notify.workflows.workflow import RemindersWorkflow

    activities = ReminderActivities(
        runtime.store, Orders(runtime), Telephony(runtime), Identity(runtime), read_ways(runtime.environ)
    )
    return WorkerBundle(QUEUE, [RemindersWorkflow], activities.all())


SERVICE = Service(name="notify", metadata=metadata, api=api, handlers=handlers, worker=worker)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
