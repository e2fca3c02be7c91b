"""The process dies between two lines of a create: nothing is lost, nothing is held for ever, nothing happens twice."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub
from sqlalchemy import select

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AppError
from services.chassis.grpc_client import Client
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Signer
from services.customers.__main__ import SERVICE as CUSTOMERS
from services.dedupe.__main__ import SERVICE as DEDUPE
from services.dedupe.clients import Customers as WriterClient
from services.dedupe.domain.reservations import SETTLE_AFTER, ReservationState
from services.dedupe.store.tables import Reservation
from services.dedupe.workflows.activities import Activities
from services.dedupe.workflows.contracts import SettleDue
from tests.integration.customers.conftest import ScriptedIdentity
from tests.integration.customers.office import Office, Person
from tests.support.served import free_port, served

ROOT = Path(__file__).resolve().parents[3]


class Crash:
    """A tenant whose customers process dies at a place, and is started again."""

    def __init__(
        self,
        settings: Settings,
        addresses: Mapping[str, str],
        environment: Mapping[str, str],
        open_at: Callable[[str], Office],
        dedupe_store: Store,
    ) -> None:
        self._settings = settings
        self._addresses = addresses
        self._environment = environment
        self._open_at = open_at
        self._dedupe_store = dedupe_store
        self._port = int(addresses["customers"].rpartition(":")[2])

    def die_while_creating(self, place: str, form: Callable[[Person], pb.CreateCustomerRequest]) -> Person:
        """Let a rep create a customer while the process dies at this place; return the rep."""
        environment = {
            **os.environ,
            **self._environment,
            **{f"{name.upper()}_ADDRESS": address for name, address in self._addresses.items()},
        }
        command = [sys.executable, "-m", "tests.integration.customers.dying_api", place, str(self._port)]
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout
                assert process.stdout.readline() == "ready\n"
                rep = self._open_at(self._addresses["customers"]).hire(name="王小明")
                assert rep.refused(form(rep)).code == "UNAVAILABLE"
                assert process.wait(timeout=10) == -9
            finally:
                process.kill()
        return rep

    @contextmanager
    def started_again(self, rep: Person) -> Iterator[tuple[Person, Person]]:
        """Run customers as it should be; give the same rep and another one."""
        with served(CUSTOMERS, self._settings, self._addresses, port=self._port) as address:
            office = self._open_at(address)
            yield Person(office, rep.caller), office.hire()

    def settle(self, tenant: Tenant) -> list[str]:
        """Let the time of settling come; return the states of the tenant's reservations."""
        signer = Signer("dedupe", self._settings.signing_keys["dedupe"])
        writer = WriterClient(Client(CustomersServiceStub, self._addresses["customers"], signer))
        due = SettleDue(tenant, utc_now() + SETTLE_AFTER + timedelta(seconds=1))
        Activities(self._dedupe_store, writer).settle_due(due)
        with self._dedupe_store.transaction(tenant) as tx:
            query = select(Reservation.state).where(Reservation.tenant_id == tenant.id)
            return list(tx.session.scalars(query.order_by(Reservation.create_time)))


@pytest.fixture
def crash(
    settings: Settings,
    environment: Mapping[str, str],
    identity: ScriptedIdentity,
    addresses: Mapping[str, str],
    store: Store,
    dedupe_store: Store,
    main_tenant: Tenant,
) -> Iterator[Crash]:
    """Customers at an address of its own, with a dedupe that knows it."""
    own = {**addresses, "dedupe": f"127.0.0.1:{free_port()}", "customers": f"127.0.0.1:{free_port()}"}
    offices: list[Office] = []

    def open_at(address: str) -> Office:
        offices.append(Office(main_tenant, settings, address, identity.people, store))
        return offices[-1]

    with served(DEDUPE, settings, own, port=int(own["dedupe"].rpartition(":")[2])):
        yield Crash(settings, own, environment, open_at, dedupe_store)
    for office in offices:
        office.close()


FORM = "中断公司"


@pytest.fixture
def form() -> Callable[[Person], pb.CreateCustomerRequest]:
    """The form of one request, whoever sends it."""
    request = pb.CreateCustomerRequest(request_id="0192d3f0-0000-7000-8000-000000000001", name=FORM)
    return lambda _: request


def test_keys_of_what_was_never_written_are_free_after_settling(
    crash: Crash, main_tenant: Tenant, form: Callable[[Person], pb.CreateCustomerRequest]
) -> None:
    rep = crash.die_while_creating("reserved", form)
    with crash.started_again(rep) as (same, other):
        assert other.refused(other.form(FORM)).reason == "KEY_HELD"
        assert crash.settle(main_tenant) == [ReservationState.CANCELLED]
        other.create(FORM)
        # The slow writer is told that it is too late.
        assert same.refused(form(same)).reason == "RESERVATION_CANCELLED"
        assert same.listed(pb.CUSTOMER_VIEW_MINE) == []


def test_a_repeat_before_settling_goes_on_where_it_stopped(
    crash: Crash, main_tenant: Tenant, form: Callable[[Person], pb.CreateCustomerRequest]
) -> None:
    rep = crash.die_while_creating("reserved", form)
    with crash.started_again(rep) as (same, other):
        created = same(form(same)).customer
        assert crash.settle(main_tenant) == [ReservationState.CONFIRMED]
        assert same(form(same)).customer == created
        assert other.refused(other.form(FORM)).reason == "KEY_HELD"


def test_what_was_written_keeps_its_keys_and_is_told(
    crash: Crash, main_tenant: Tenant, store: Store, form: Callable[[Person], pb.CreateCustomerRequest]
) -> None:
    """F57: the answer was lost, the customer is not; its event waits in the outbox."""
    rep = crash.die_while_creating("written", form)
    with crash.started_again(rep) as (same, other):
        assert crash.settle(main_tenant) == [ReservationState.CONFIRMED]
        assert other.refused(other.form(FORM)).reason == "KEY_HELD"
        answer = same(form(same)).customer
        assert same.listed(pb.CUSTOMER_VIEW_MINE) == [FORM]
        assert same.get(answer.customer_id).owner_id == rep.id
    outbox = store.tables["outbox"]
    with store.transaction(main_tenant) as tx:
        bodies = tx.session.scalars(select(outbox.c.body).where(outbox.c.tenant_id == main_tenant.id)).all()
    assert [body["data"]["customerId"] for body in bodies if body.get("type") == "customer_created"] == [
        answer.customer_id
    ]


def test_a_create_while_dedupe_is_down_writes_nothing(
    settings: Settings,
    addresses: Mapping[str, str],
    identity: ScriptedIdentity,
    store: Store,
    main_tenant: Tenant,
) -> None:
    down = {**addresses, "dedupe": "127.0.0.1:1"}
    with served(CUSTOMERS, settings, down) as address:
        office = Office(main_tenant, settings, address, identity.people, store)
        rep = office.hire()
        refused = rep.refused(rep.form())
        assert isinstance(refused, AppError)
        assert refused.code == "UNAVAILABLE"
        assert rep.listed(pb.CUSTOMER_VIEW_MINE) == []
        office.close()
