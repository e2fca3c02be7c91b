"""Serve a service's API inside the test process, on a real channel, as `python -m services.<name> api` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from deploy.local.ports import Ports
from services.chassis.clock import Clock, utc_now
from services.chassis.grpc_server import Server
from services.chassis.ids import new_id
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.tokens import Verifier

# All that this process has picked, that it picks none twice.
PORTS = Ports()


def free_port() -> int:
    """Return a loopback port for a process to listen on, and to find free again when it comes back.

    Of those that this run's other workers do not pick from, and that the system gives nobody meanwhile.
    """
    return PORTS.take(new_id())


@contextmanager
def served(
    service: Service,
    settings: Settings,
    addresses: Mapping[str, str] | None = None,
    *,
    port: int = 0,
    clock: Clock = utc_now,
) -> Iterator[str]:
    """Run a service's gRPC server without its relay; give its address.

    addresses: of the services that it calls.
    """
    if service.api is None:
        raise ValueError(f"{service.name} has no api")
    settings = replace(settings, addresses={**settings.addresses, **(addresses or {})})
    runtime = Runtime(service.name, settings, service.metadata(), {}, clock)
    server = Server(service.name, Verifier(settings.trusted_keys))
    names = service.api(runtime, server.grpc)
    bound = server.start("127.0.0.1", port, *names)
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(0)
        runtime.store.close()
