"""Identity's processes: python -m services.identity api | events | migrate | check, and commands for operators."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import MetaData

from services.chassis.service import Runtime, Service, main

if TYPE_CHECKING:
    import grpc

    from services.chassis.events import Handlers


def metadata() -> MetaData:
    """Return identity's tables."""
    # It brings its tables.
    from services.identity.store import schedule_tables  # noqa: F401  # their tables join the metadata
    from services.identity.store.tables import Base

    return Base.metadata


def api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    """Register the servicers."""
    from crm.identity.v1 import identity_pb2, identity_pb2_grpc, schedules_pb2, schedules_pb2_grpc

    from services.identity.api import IdentityApi
    from services.identity.schedules_api import SchedulesApi

    identity_pb2_grpc.add_IdentityServiceServicer_to_server(
        IdentityApi(runtime.store, runtime.signer), server
    )
    schedules_pb2_grpc.add_SchedulesServiceServicer_to_server(SchedulesApi(runtime.store), server)
    return [
        identity_pb2.DESCRIPTOR.services_by_name["IdentityService"].full_name,
        schedules_pb2.DESCRIPTOR.services_by_name["SchedulesService"].full_name,
    ]


def handlers() -> "Handlers":
    """Return what identity takes from other services."""
    from services.identity.events import handlers

    return handlers


def create_tenant(runtime: Runtime, words: Sequence[str]) -> int:
    """Create a tenant and its first administrator."""
    from services.identity import commands

    return commands.create_tenant(runtime, words)


def create_department(runtime: Runtime, words: Sequence[str]) -> int:
    """Add a department to a tenant."""
    from services.identity import commands

    return commands.create_department(runtime, words)


def list_tenants(runtime: Runtime, words: Sequence[str]) -> int:
    """Print every tenant."""
    from services.identity import commands

    return commands.list_tenants(runtime, words)


def move_tenant(runtime: Runtime, words: Sequence[str]) -> int:
    """Move a tenant to another database."""
    from services.identity import commands

    return commands.move_tenant(runtime, words)


SERVICE = Service(
    name="identity",
    metadata=metadata,
    api=api,
    handlers=handlers,
    commands={
        "create-tenant": create_tenant,
        "create-department": create_department,
        "list-tenants": list_tenants,
        "move-tenant": move_tenant,
    },
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
