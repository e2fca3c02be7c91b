"""How a service's parts become processes: `python -m services.<name> api|events|worker|migrate|check`.

Each service's __main__.py makes one `Service`; the functions in it import their rooms only when called, so that
the process of Nameko never sees grpc and the gRPC server never sees eventlet.
"""

import argparse
import asyncio
import os
import selectors
import signal
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import MetaData

from services.chassis import logging
from services.chassis.clock import Clock, utc_now
from services.chassis.process import started
from services.chassis.settings import SERVICES, Settings, SettingsError, read_secret_files

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

    from services.chassis.db import Store
    from services.chassis.epochs import Epochs, EpochWatch
    from services.chassis.events import Handlers
    from services.chassis.grpc_client import Client
    from services.chassis.measures import Measure
    from services.chassis.temporal import TemporalLink, WorkerBundle
    from services.chassis.tokens import Signer

log = logging.get_logger(__name__)

StubType = TypeVar("StubType")
Made = TypeVar("Made")


@dataclass
class Runtime:
    """What a process gives to the service in it; each part is made at its first use."""

    service: str
    settings: Settings
    metadata: MetaData
    environ: Mapping[str, str]
    clock: Clock = utc_now
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> "Store":
        """The service's store."""

        def make() -> "Store":
            from services.chassis.db import Store

            return Store(self.settings.database_urls, self.metadata, self.clock)

        return self._once("store", make)

    @property
    def signer(self) -> "Signer":
        """This service's identity towards others; raises SettingsError when its key was not given."""

        def make() -> "Signer":
            from services.chassis.tokens import Signer

            if self.service not in self.settings.signing_keys:
                raise SettingsError(f"SIGNING_KEYS has no key for {self.service}")
            return Signer(self.service, self.settings.signing_keys[self.service])

        return self._once("signer", make)

    @property
    def temporal(self) -> "TemporalLink":
        """A link to Temporal for synchronous code."""

        def make() -> "TemporalLink":
            from services.chassis.temporal import TemporalLink

            return TemporalLink(self.settings.temporal_address, self.settings.temporal_namespace)

        return self._once("temporal", make)

    def client(self, service: str, stub: "Callable[[grpc.Channel], StubType]") -> "Client[StubType]":
        """A client of another service, in this service's name."""

        def make() -> "Client[StubType]":
            from services.chassis.grpc_client import Client, address_of

            return Client(
                stub, address_of(self.settings.addresses, service), self.signer, self.settings.internal_tls
            )

        return self._once(f"client-{service}-{stub!r}", make)

    def _once(self, name: str, make: Callable[[], Made]) -> Made:
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made


@dataclass(frozen=True)
class Service:
    """A service as its __main__.py declares it.

    metadata: its tables. api: registers the servicer on a server and returns its full gRPC names. handlers: the
    events it takes. worker: its workflows and activities. measures: what its api process measures of its tables.
    commands: further commands by name, each a function of the runtime and the words behind the command that returns
    an exit status.
    """

    name: str
    metadata: Callable[[], MetaData]
    api: "Callable[[Runtime, grpc.Server], Sequence[str]] | None" = None
    handlers: "Callable[[], Handlers] | None" = None
    worker: "Callable[[Runtime], WorkerBundle] | None" = None
    measures: "Callable[[], Sequence[Measure]]" = tuple
    commands: Mapping[str, Callable[[Runtime, Sequence[str]], int]] = field(default_factory=dict)

    def runtime(self, settings: Settings, environ: Mapping[str, str]) -> Runtime:
        """Return the runtime of this service in a process with these settings."""
        return Runtime(self.name, settings, self.metadata(), environ)


def main(service: Service, argv: Sequence[str] | None = None) -> int:
    """Run the process that the command line asks for; return its exit status."""
    roles = {
        "migrate": lambda runtime, _: migrate([service], runtime.settings),
        "check": lambda runtime, _: check(runtime),
    }
    if service.api:
        roles["api"] = lambda runtime, _: run_api(service, runtime)
    if service.handlers:
        roles["events"] = lambda runtime, _: run_events([service], runtime.settings, runtime.environ)
    if service.worker:
        roles["worker"] = lambda runtime, _: run_worker([service], runtime.settings, runtime.environ)
    commands: dict[str, Callable[[Runtime, Sequence[str]], int]] = {**roles, **service.commands}
    parser = argparse.ArgumentParser(prog=f"python -m services.{service.name}")
    parser.add_argument("role", choices=sorted(commands))
    parser.add_argument("words", nargs=argparse.REMAINDER)
    arguments = parser.parse_args(argv)
    if arguments.role == "events":
        patch_for_nameko()
    try:
        environ = read_secret_files(os.environ)
        settings = Settings.read(environ)
        logging.configure(f"{service.name}.{arguments.role}", settings.log_level)
        return commands[arguments.role](service.runtime(settings, environ), arguments.words)
    except (SettingsError, LookupError) as error:
        print(f"{service.name}: {error}", file=sys.stderr)  # noqa: T201 - a person reads it at start
        return 2


def patch_for_nameko() -> None:
    """Turn this process into an eventlet one; must run before anything else is imported that waits."""
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"
    import eventlet

    eventlet.monkey_patch()
    # Imported before the patch (by the metrics page), it kept a selector that stops every greenlet while it waits.
    socketserver._ServerSelector = selectors.SelectSelector  # type: ignore[attr-defined]  # not in its stubs
    from services.chassis.greenlets import let_others_work

    let_others_work()


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; only for a process's main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def start_relays(runtime: Runtime, patience_s: float = 0.0) -> "Callable[[], None]":
    """Start the outbox relay of every database in threads; return what stops them.

    patience_s: wait before the first bid for being the active one, in seconds.
    """
    from services.chassis.amqp import Publisher, read_manifest
    from services.chassis.outbox import Destination, EventDestination, Relay

    entries = read_manifest()
    lanes: dict[str, Callable[[], Destination]] = {
        "amqp": lambda: EventDestination(Publisher(runtime.settings.amqp_url, entries)),
        "temporal": lambda: runtime.temporal,
    }
    relays = [
        Relay(runtime.store, database, lane, destination(), patience_s)
        for database in runtime.settings.database_urls
        for lane, destination in lanes.items()
    ]
    for relay in relays:
        relay.start()

    def stop() -> None:
        for relay in relays:
            relay.stop()

    return stop


def epoch_watch(runtime: Runtime, epochs: "Epochs") -> "EpochWatch":
    """Return what keeps `epochs` as identity says; raises LookupError without identity's address."""
    from crm.identity.v1.identity_pb2 import ListEpochsRequest
    from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

    from services.chassis.epochs import LOOK_S, EpochWatch

    identity = runtime.client("identity", IdentityServiceStub)

    def ask() -> dict[str, int]:
        # Signed with a fresh token: nobody's tenant, nobody's behalf.
        answer = identity.call(identity.stub.ListEpochs, ListEpochsRequest(), tenant=None, timeout_s=LOOK_S)
        return {item.person_id: item.epoch for item in answer.epochs}

    return EpochWatch(epochs, ask)


def run_api(service: Service, runtime: Runtime) -> int:
    """Serve gRPC and relay the outbox until SIGTERM."""
    from services.chassis.epochs import Epochs
    from services.chassis.grpc_server import Server
    from services.chassis.measures import Measurer
    from services.chassis.tokens import Verifier

    if service.api is None:
        raise SettingsError(f"{service.name} has no api")
    stop = stop_event()
    settings = runtime.settings
    epochs = Epochs()
    watch = epoch_watch(runtime, epochs)
    server = Server(service.name, Verifier(settings.trusted_keys), epochs, settings.internal_tls)
    names = service.api(runtime, server.grpc)
    watch.start()
    stop_relays = start_relays(runtime)
    measurer = Measurer(runtime.store, service.measures())
    measurer.start()
    started(f"{service.name}.api", settings.metrics_address, settings.metrics_port)
    port = server.start(settings.bind_address, settings.port, *names)
    server.watch(runtime.store.answers)
    log.info("api is serving", port=port)
    stop.wait()
    server.stop()
    watch.stop()
    stop_relays()
    measurer.stop()
    runtime.store.close()
    return 0


def run_events(services: Sequence[Service], settings: Settings, environ: Mapping[str, str]) -> int:
    """Host the event handlers of these services in one Nameko process until SIGTERM."""
    from services.chassis.nameko_host import run

    hosted = [
        (service.runtime(settings, environ), service.handlers()) for service in services if service.handlers
    ]
    return run(
        [(runtime.store, handlers) for runtime, handlers in hosted],
        settings.amqp_url,
        lambda: started("events", settings.metrics_address, settings.metrics_port),
        settings.queue_type,
    )


def run_worker(services: Sequence[Service], settings: Settings, environ: Mapping[str, str]) -> int:
    """Host the workflows and activities of these services until SIGTERM."""
    from services.chassis.temporal import run_workers

    bundles = [
        service.worker(service.runtime(settings, environ))
        for service in services
        if service.worker is not None
    ]
    started("worker", settings.metrics_address, settings.metrics_port)

    async def host() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run_workers(settings.temporal_address, settings.temporal_namespace, bundles, stop)

    asyncio.run(host())
    return 0


def migrate(services: "Iterable[Service]", settings: Settings) -> int:
    """Bring every database's schemas up to date and declare the queues; safe to run twice at once."""
    from services.chassis.amqp import declare, read_manifest
    from services.chassis.migrations.runner import upgrade

    for service in services:
        for database, url in settings.database_urls.items():
            upgrade(service.name, service.metadata(), url)
            log.info("schema is up to date", service=service.name, database=database)
    declare(settings.amqp_url, SERVICES, read_manifest(), settings.queue_type)
    return 0


def check(runtime: Runtime) -> int:
    """Say whether the databases and the broker answer; exit status 1 if one does not."""
    from sqlalchemy import text

    from services.chassis.amqp import connection_to

    bad = 0
    for database in runtime.settings.database_urls:
        try:
            with runtime.store.across(database) as session:
                session.execute(text("SELECT 1"))
            log.info("database answers", database=database)
        except Exception as error:
            log.error("database does not answer", database=database, error=str(error))
            bad = 1
    try:
        with connection_to(runtime.settings.amqp_url) as connection:
            connection.ensure_connection(max_retries=1)
        log.info("broker answers")
    except Exception as error:
        log.error("broker does not answer", error=str(error))
        bad = 1
    return bad
