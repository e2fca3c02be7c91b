"""The API of customers as a program that kills itself with SIGKILL between two lines.

    python -m tests.integration.customers.dying_api PLACE PORT

PLACE is "reserved" (the keys are taken, nothing is written) or "written" (committed, not answered, not told).
"""

import os
import signal
import sys
from typing import Any

from crm.customers.v1.customers_pb2_grpc import add_CustomersServiceServicer_to_server
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

from services.chassis.grpc_server import Server
from services.chassis.settings import Settings
from services.chassis.tokens import Verifier
from services.customers.__main__ import SERVICE
from services.customers.api import CustomersApi
from services.customers.clients import Dedupe, Identity


def die_at(place: str) -> None:
    """Die here if this is the place."""
    if sys.argv[1] == place:
        os.kill(os.getpid(), signal.SIGKILL)


class MortalDedupe(Dedupe):
    """Dedupe's client that may not come back."""

    def reserve(self, *arguments: Any) -> None:
        """Reserve, and die where told."""
        super().reserve(*arguments)
        die_at("reserved")


class MortalApi(CustomersApi):
    """The API that may not answer."""

    def write(self, *arguments: Any) -> Any:
        """Commit, and die where told."""
        answer = super().write(*arguments)
        die_at("written")
        return answer


def main() -> None:
    """Serve until death."""
    settings = Settings.read(os.environ)
    runtime = SERVICE.runtime(settings, os.environ)
    server = Server("customers", Verifier(settings.trusted_keys))
    api = MortalApi(
        runtime.store,
        MortalDedupe(runtime.client("dedupe", DedupeServiceStub)),
        Identity(runtime.client("identity", IdentityServiceStub)),
    )
    add_CustomersServiceServicer_to_server(api, server.grpc)
    server.start("127.0.0.1", int(sys.argv[2]), "crm.customers.v1.CustomersService")
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    server.grpc.wait_for_termination()


if __name__ == "__main__":
    main()
