"""TLS between all parts: with the site's certificate everything talks, without it nobody gets an answer."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest
from crm.identity.v1.identity_pb2 import ListEpochsRequest
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kombu.exceptions import OperationalError
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

from deploy.local.stores import PrivateStores
from services.chassis.amqp import Publisher, connection_to, declare, read_manifest
from services.chassis.clock import utc_now
from services.chassis.db import Store, service_metadata
from services.chassis.errors import Unavailable
from services.chassis.grpc_client import Client
from services.chassis.grpc_server import Server
from services.chassis.grpc_tls import channel_credentials
from services.chassis.settings import SERVICES, InternalTls, Settings, SettingsError
from services.chassis.temporal import TemporalLink
from services.chassis.tokens import Signer, Verifier, generate_key
from services.gateway.clients import Backends
from services.identity.__main__ import SERVICE as IDENTITY
from tests.support.certificates import Authority, Pem, tls_door
from tests.support.until import until


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The CA of a site."""
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Pem:
    """A certificate of somebody else's CA."""
    return Authority(tmp_path, "elsewhere").issue("stranger")


def internal(pem: Pem, ca: Path | None = None) -> InternalTls:
    """Return a certificate as the settings have it."""
    return InternalTls(pem.certificate, pem.key, ca or pem.ca)


def query(pem: Pem) -> str:
    """Return a certificate as a store's URL has it."""
    return f"?cafile={pem.ca}&certfile={pem.certificate}&keyfile={pem.key}"


@pytest.fixture
def serving(settings: Settings, authority: Authority) -> Iterator[int]:
    """Identity behind mutual TLS, on a port."""
    tls = internal(authority.issue("identity"))
    runtime = IDENTITY.runtime(replace(settings, internal_tls=tls), {})
    server = Server("identity", Verifier(settings.trusted_keys), tls=tls)
    assert IDENTITY.api is not None
    names = IDENTITY.api(runtime, server.grpc)
    yield server.start("127.0.0.1", 0, *names)
    server.stop(0)
    runtime.store.close()


def client(
    settings: Settings, port: int, tls: InternalTls | None, target: str = "127.0.0.1"
) -> Client[IdentityServiceStub]:
    """Return a client in customers' name."""
    signer = Signer("customers", settings.signing_keys["customers"])
    return Client(IdentityServiceStub, f"{target}:{port}", signer, tls)


def test_services_that_know_each_others_ca_talk_and_nobody_else_is_answered(
    settings: Settings, serving: int, authority: Authority, stranger: Pem
) -> None:
    """mTLS: without a certificate, with a stranger's, and to a server that a stranger's CA vouches for."""
    mine = authority.issue("customers")
    known = client(settings, serving, internal(mine))
    known.call(known.stub.ListEpochs, ListEpochsRequest(), tenant=None, timeout_s=30)
    known.close()
    for tls in (None, internal(stranger, authority.ca), internal(mine, stranger.ca)):
        unknown = client(settings, serving, tls)
        with pytest.raises(Unavailable):
            unknown.call(unknown.stub.ListEpochs, ListEpochsRequest(), tenant=None, timeout_s=30)
        unknown.close()


def test_the_gateway_talks_to_the_services_by_mutual_tls(serving: int, authority: Authority) -> None:
    async def ask() -> str:
        addresses = dict.fromkeys(SERVICES, f"127.0.0.1:{serving}")
        backends = Backends(addresses, internal(authority.issue("gateway")))
        try:
            await backends.identity.ListEpochs(ListEpochsRequest(), timeout=30)
        except grpc.aio.AioRpcError as error:
            # It came through, and was asked for its token.
            return error.code().name
        finally:
            await backends.close()
        return ""

    assert asyncio.run(ask()) == "UNAUTHENTICATED"


def test_a_renewed_certificate_counts_without_a_restart(authority: Authority) -> None:
    pem = authority.issue("served")
    server = Server("identity", Verifier({"customers": generate_key()[1]}), tls=internal(pem))
    port = server.start("127.0.0.1", 0)
    mine = authority.issue("prober")

    def answers(ca: Path) -> bool:
        # A CA that signed what the server shows now, and the certificate it knows us by.
        credentials = channel_credentials(internal(mine, ca))
        with grpc.secure_channel(
            f"127.0.0.1:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)]
        ) as to:
            stub = health_pb2_grpc.HealthStub(to)
            try:
                stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            except grpc.RpcError:
                return False
        return True

    try:
        assert answers(authority.ca)
        renewing = Authority(pem.ca.parent, "next")
        assert not answers(renewing.ca)
        issued = renewing.issue("renewed")
        pem.key.write_bytes(issued.key.read_bytes())
        pem.certificate.write_bytes(issued.certificate.read_bytes())
        until(lambda: answers(renewing.ca), timeout_s=30)
    finally:
        server.stop(0)


def test_the_broker_is_reached_by_tls(stores: PrivateStores, authority: Authority, stranger: Pem) -> None:
    """Declaring, publishing with confirms; and not to a broker that cannot show who it is."""
    parts = urlsplit(stores.amqp_url)
    assert parts.hostname
    assert parts.port
    with tls_door(authority.issue("broker"), parts.hostname, parts.port) as port:
        at = f"amqps://{parts.username}:{parts.password}@localhost:{port}/"
        url = at + query(authority.issue("relay"))
        declare(url, SERVICES, [])
        publisher = Publisher(url, read_manifest())
        event = {"id": "00000000-0000-0000-0000-000000000000", "source": "orders", "type": "nobody_asked"}
        assert publisher.publish([event]) == [None]
        publisher.close()
        for pem in (stranger, replace(authority.issue("again"), ca=stranger.ca)):
            with connection_to(at + query(pem)) as connection, pytest.raises((OperationalError, OSError)):
                connection.ensure_connection(max_retries=1, interval_start=0)


def test_temporal_is_reached_by_tls(stores: PrivateStores, authority: Authority) -> None:
    host, _, port = stores.temporal_address.rpartition(":")
    with tls_door(authority.issue("temporal"), host, int(port), "h2") as door:
        link = TemporalLink(f"tls://localhost:{door}{query(authority.issue('worker'))}", "default")
        try:
            info = link.run(lambda each: each.workflow_service.get_system_info(GetSystemInfoRequest()), 30)
            assert info.server_version
        finally:
            link.close()


def test_postgresql_is_reached_by_tls(authority: Authority, stranger: Pem) -> None:
    """libpq's own words in the URL reach the store: verify-full."""
    stores = PrivateStores(databases=("main",))
    postgresql = stores.processes["postgresql"]
    postgresql.start()
    try:
        url = stores.create_database("main")
        admin = url.replace("gonghai_services", "gonghai").replace(
            stores.state.secret("postgresql-services"), stores.state.secret("postgresql")
        )
        with psycopg.connect(admin, autocommit=True) as connection:
            home = stores.state.path / "postgresql/data"
            pem = authority.issue("postgresql")
            account = home.stat()
            for name, file in (("server.crt", pem.certificate), ("server.key", pem.key)):
                (home / name).write_bytes(file.read_bytes())
                (home / name).chmod(0o600)
                os.chown(home / name, account.st_uid, account.st_gid)
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
        secured = f"{url.replace('127.0.0.1', 'localhost')}?sslmode=verify-full&sslrootcert="
        store = Store({"main": f"{secured}{authority.ca}"}, service_metadata("tlstest"), utc_now)
        until(store.answers, timeout_s=30)
        store.close()
        wrong = Store({"main": f"{secured}{stranger.ca}"}, service_metadata("tlstest"), utc_now)
        assert not wrong.answers()
        wrong.close()
    finally:
        stores.stop()


def test_half_a_certificate_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="INTERNAL_TLS_KEY"):
        InternalTls.read({"INTERNAL_TLS_CERTIFICATE": "/c.pem", "INTERNAL_TLS_CA": "/ca.pem"})
