"""Customers with dedupe and a scripted identity, over real databases and real channels."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import grpc
import pytest
from crm.identity.v1 import identity_pb2, identity_pb2_grpc
from sqlalchemy import delete, select

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import not_found
from services.chassis.grpc_server import Server
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Verifier
from services.customers.__main__ import SERVICE as CUSTOMERS
from services.customers.store.tables import Base
from services.dedupe.__main__ import SERVICE as DEDUPE
from services.dedupe.store.tables import Base as DedupeBase
from tests.integration.customers.killed_api import Api
from tests.integration.customers.office import Desk, Office, Person
from tests.support.served import free_port, served


class ScriptedIdentity(identity_pb2_grpc.IdentityServiceServicer):
    """Identity as far as customers asks it: people whom the test knows."""

    def __init__(self) -> None:
        self.people: dict[str, identity_pb2.GetPersonResponse] = {}

    def GetPerson(
        self, request: identity_pb2.GetPersonRequest, context: grpc.ServicerContext
    ) -> identity_pb2.GetPersonResponse:
        if request.person_id not in self.people:
            raise not_found("person", "人员", request.person_id)
        return self.people[request.person_id]

    def ListPersonNames(
        self, request: identity_pb2.ListPersonNamesRequest, context: grpc.ServicerContext
    ) -> identity_pb2.ListPersonNamesResponse:
        known = self.people.keys() & set(request.person_ids)
        names = {person_id: self.people[person_id].person.name for person_id in known}
        return identity_pb2.ListPersonNamesResponse(names=names)

    def ListEpochs(
        self, request: identity_pb2.ListEpochsRequest, context: grpc.ServicerContext
    ) -> identity_pb2.ListEpochsResponse:
        return identity_pb2.ListEpochsResponse()


@pytest.fixture(scope="module")
def identity() -> ScriptedIdentity:
    """People of the tests."""
    return ScriptedIdentity()  # type: ignore[abstract]  # customers asks for nothing else


@pytest.fixture(scope="module")
def addresses(settings: Settings, identity: ScriptedIdentity) -> Iterator[Mapping[str, str]]:
    """Where identity, dedupe and customers are; the two know each other."""
    ports = {name: free_port() for name in ("dedupe", "customers")}
    server = Server("identity", Verifier(settings.trusted_keys))
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(identity, server.grpc)
    addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    addresses["identity"] = f"127.0.0.1:{server.start('127.0.0.1', 0, 'crm.identity.v1.IdentityService')}"
    with (
        served(DEDUPE, settings, addresses, port=ports["dedupe"]),
        served(CUSTOMERS, settings, addresses, port=ports["customers"]),
    ):
        yield addresses
    server.stop(0)


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    """The store of customers."""
    store = Store(settings.database_urls, Base.metadata, utc_now, pool_size=30)
    yield store
    store.close()


@pytest.fixture(scope="module")
def dedupe_store(settings: Settings) -> Iterator[Store]:
    """The store of dedupe."""
    store = Store(settings.database_urls, DedupeBase.metadata, utc_now)
    yield store
    store.close()


@pytest.fixture
def open_office(
    settings: Settings, addresses: Mapping[str, str], identity: ScriptedIdentity, store: Store
) -> Iterator[Callable[[Tenant], Office]]:
    """Open a tenant's office; closed behind the test."""
    with ExitStack() as opened:

        def open_(tenant: Tenant) -> Office:
            office = Office(tenant, settings, addresses["customers"], identity.people, store)
            opened.callback(office.close)
            return office

        yield open_


@pytest.fixture
def office(open_office: Callable[[Tenant], Office], main_tenant: Tenant) -> Office:
    """A fresh tenant in the home database, with staff to be hired."""
    return open_office(main_tenant)


@pytest.fixture
def api(environment: Mapping[str, str], addresses: Mapping[str, str]) -> Api:
    """The API with identity and dedupe of this module."""
    port = free_port()
    known = {f"{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    return Api({**environment, **known, "PORT": str(port)}, port)


@pytest.fixture
def api_office(
    api: Api, settings: Settings, identity: ScriptedIdentity, store: Store, main_tenant: Tenant
) -> Iterator[Office]:
    """A tenant whose staff call that process."""
    outbox = store.tables["outbox"]
    with store.across(main_tenant.database) as session:
        tenant_ids = session.scalars(select(outbox.c.tenant_id).distinct()).all()
    for tenant_id in tenant_ids:
        # This process has relays: what other tests left untold would be told now.
        with store.transaction(Tenant(tenant_id, main_tenant.database)) as tx:
            tx.session.execute(delete(outbox).where(outbox.c.tenant_id == tenant_id))
    office = Office(main_tenant, settings, api.address, identity.people, store)
    yield office
    office.close()


@pytest.fixture
def desk(office: Office, addresses: Mapping[str, str]) -> Iterator[Callable[[Person], Desk]]:
    """Sit somebody down."""
    with grpc.insecure_channel(addresses["customers"]) as channel:
        yield lambda person: Desk(office, person, channel)
