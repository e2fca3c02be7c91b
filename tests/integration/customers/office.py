"""A tenant's staff who call customers over a real channel, and what the other services tell it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import records_pb2
from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub
from crm.customers.v1.merges_pb2_grpc import MergesServiceStub
from crm.customers.v1.pools_pb2_grpc import PoolsServiceStub
from crm.customers.v1.records_pb2_grpc import RecordsServiceStub
from crm.customers.v1.reveals_pb2_grpc import RevealsServiceStub
from crm.identity.v1 import identity_pb2
from sqlalchemy import select

from services.chassis.clock import utc_now
from services.chassis.db import Event, Store, Transaction
from services.chassis.errors import AppError
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller as Identity
from services.chassis.tokens import Signer
from services.customers.events import handlers
from tests.support.callers import Caller
from tests.support.unique import letters

Result = TypeVar("Result")

# What a sales rep may.
REP = frozenset(f"customers.{verb}" for verb in ("view", "create", "claim", "return", "lock", "follow"))
MANAGER = REP | {"pools.manage", "approvals.decide", "settings.manage"}
HEAD = "root/"
EAST = "root/east/"
WEST = "root/west/"


class Person:
    """Somebody of the staff: calls customers with a token of its own."""

    def __init__(self, office: Office, caller: Identity) -> None:
        self.id = caller.person_id
        self.caller = caller
        self._stubs = (office.stub, office.pools, office.reveals, office.merges, office.records)
        self._call = Caller(lambda: office.signer.person_token(caller, utc_now())[0], caller.locale)

    def __call__(self, request: Any) -> Any:
        """Call the method that takes this request; raises the AppError of a refusal."""
        method = type(request).__name__.removesuffix("Request")
        return self._call(self._method(method), request)

    def refused(self, request: Any) -> Any:
        """Return the error of a call that must be refused."""
        method = type(request).__name__.removesuffix("Request")
        return self._call.refused(self._method(method), request)

    def _method(self, name: str) -> Any:
        return next(getattr(stub, name) for stub in self._stubs if hasattr(stub, name))

    def create(self, name: str = "", *phones: str, **fields: Any) -> pb.Customer:
        """Create a customer."""
        customer: pb.Customer = self(self.form(name, *phones, **fields)).customer
        return customer

    def form(self, name: str = "", *phones: str, **fields: Any) -> pb.CreateCustomerRequest:
        """Return a filled form; without a name, one that nobody has."""
        return pb.CreateCustomerRequest(
            request_id=new_id(),
            name=name or f"公司{new_id()}",
            phones=[pb.PhoneInput(number=phone) for phone in phones],
            **fields,
        )

    def get(self, customer_id: str) -> pb.Customer:
        """Return a customer as this person sees it."""
        customer: pb.Customer = self(pb.GetCustomerRequest(customer_id=customer_id)).customer
        return customer

    def claim(self, *customer_ids: str) -> list[str]:
        """Claim customers; return for each "done" or the reason."""
        request = pb.ClaimCustomersRequest(request_id=new_id(), customer_ids=customer_ids)
        return ["done" if result.done else result.reason for result in self(request).results]

    def give_back(self, customer_id: str, pool_id: str = "") -> pb.Customer:
        """Return a customer to a pool."""
        request = pb.ReturnCustomerRequest(
            request_id=new_id(), customer_id=customer_id, reason="跟进无效果", pool_id=pool_id
        )
        customer: pb.Customer = self(request).customer
        return customer

    def ledger(self, customer_id: str) -> list[pb.OwnershipChange]:
        """Return a customer's ledger, newest first."""
        return list(self(pb.ListOwnershipChangesRequest(customer_id=customer_id)).changes)

    def listed(self, view: pb.CustomerView.ValueType, **fields: Any) -> list[str]:
        """Return the names of a view's first page."""
        request = pb.ListCustomersRequest(view=view, **fields)
        return [customer.name for customer in self(request).customers]


class Desk:
    """Somebody who works on records."""

    def __init__(self, office: Office, person: Person, channel: grpc.Channel) -> None:
        self.person = person
        self._stub = RecordsServiceStub(channel)
        self._call = Caller(lambda: office.signer.person_token(person.caller, utc_now())[0], "zh-CN")

    def __call__(self, method: str, **fields: Any) -> Any:
        """Call a method with a request of these fields; raises the AppError of a refusal."""
        kind = getattr(records_pb2, f"{method}Request")
        if "request_id" in kind.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", new_id())
        return self._call(getattr(self._stub, method), kind(**fields))

    def refused(self, method: str, **fields: Any) -> AppError:
        """Return the error of a call that must be refused."""
        with pytest.raises(AppError) as refused:
            self(method, **fields)
        return refused.value

    def add_field(self, key: str, type_: str, **fields: Any) -> None:
        """Add a field to customers."""
        self("CreateField", field=records_pb2.Field(key=key, name=key, type=type_, **fields))

    def found(self, filter_: Any = None, **fields: Any) -> list[str]:
        """Return the names that a list of own customers shows."""
        text = json.dumps(filter_) if filter_ else ""
        return self.person.listed(fields.pop("view", pb.CUSTOMER_VIEW_MINE), filter=text, **fields)


class Office:
    """A tenant nobody used before."""

    def __init__(
        self,
        tenant: Tenant,
        settings: Settings,
        address: str,
        people: dict[str, identity_pb2.GetPersonResponse],
        store: Store,
    ) -> None:
        self.tenant = tenant
        self.signer = Signer("identity", settings.signing_keys["identity"])
        self.store = store
        self._channel = grpc.insecure_channel(address)
        self.stub = CustomersServiceStub(self._channel)
        self.pools = PoolsServiceStub(self._channel)
        self.reveals = RevealsServiceStub(self._channel)
        self.merges = MergesServiceStub(self._channel)
        self.records = RecordsServiceStub(self._channel)
        self._people = people
        self._keys = settings.signing_keys

    def hire(
        self, rights: frozenset[str] = REP, path: str = EAST, scope: str = "self", name: str = "王小明"
    ) -> Person:
        """Hire somebody, whom identity knows from now on."""
        caller = Identity(
            tenant=self.tenant,
            person_id=new_id(),
            name=name,
            rights=rights,
            scope=scope,
            department_path=path,
        )
        self._people[caller.person_id] = identity_pb2.GetPersonResponse(
            person=identity_pb2.Person(person_id=caller.person_id, name=name, rights=rights, active=True),
            department_path=path,
        )
        return Person(self, caller)

    def service(self, name: str, actor_id: str = "") -> Caller:
        """Return a service that calls into the tenant."""
        signer = Signer(name, self._keys[name])
        return Caller(lambda: signer.service_token(self.tenant, actor_id))

    def pool(self, manager: Person, name: str = "", **fields: Any) -> pb.Pool:
        """Make a pool for everybody, with the usual rule."""
        fields.setdefault("rule", pb.ReclaimRule(idle_days=90, warn_days=1))
        request = pb.CreatePoolRequest(
            request_id=new_id(), pool=pb.Pool(name=name or f"公海{letters()}", **fields)
        )
        pool: pb.Pool = manager(request).pool
        return pool

    def settings(self, manager: Person, **fields: Any) -> pb.Settings:
        """Set the tenant's settings; what is not named is off."""
        request = pb.UpdateSettingsRequest(request_id=new_id(), settings=pb.Settings(**fields))
        settings: pb.Settings = manager(request).settings
        return settings

    def tell(self, event_type: str, data: dict[str, Any], *, source: str = "approvals") -> None:
        """Give an event of another service to its handlers, each in a transaction as the host does."""
        found = [item for item in handlers.all if (item.source, item.event_type) == (source, event_type)]
        assert found
        event = Event(new_id(), event_type, source, self.tenant, "", new_id(), 1, self.store.clock(), data)
        for handler in found:
            with self.store.transaction(self.tenant) as tx:
                handler.function(tx, event)

    def register(self, person: Person, *, roles: tuple[str, ...] = (), regions: tuple[str, ...] = ()) -> None:
        """Let identity tell who somebody is."""
        data = {
            "personId": person.id,
            "departmentPath": person.caller.department_path,
            "active": True,
            "roles": list(roles),
            "regionDepartmentIds": list(regions),
        }
        self.tell("person_saved", data, source="identity")

    def move(self, person: Person, path: str) -> None:
        """Let identity tell that somebody is in another department now."""
        self.tell("person_saved", {"personId": person.id, "departmentPath": path}, source="identity")

    def decide(self, customer_id: str, *, passed: bool, decider_id: str = "") -> None:
        """Let approvals decide a registration."""
        data = {
            "approvalId": new_id(),
            "subjectType": "registration",
            "subjectId": customer_id,
            "deciderId": decider_id,
        }
        self.tell("approval_passed" if passed else "approval_rejected", data)

    def run(self, work: Callable[[Transaction], Result]) -> Result:
        """Do something in a transaction of its own."""
        with self.store.transaction(self.tenant) as tx:
            return work(tx)

    def events(self, event_type: str) -> list[dict[str, Any]]:
        """Return the data of the events that wait in the outbox, oldest first."""
        outbox = self.store.tables["outbox"]
        query = select(outbox.c.body).where(outbox.c.tenant_id == self.tenant.id).order_by(outbox.c.id)
        bodies = self.run(lambda tx: tx.session.scalars(query).all())
        return [body["data"] for body in bodies if body.get("type") == event_type]

    def workflows(self) -> list[str]:
        """Return ids of the workflows that wait in the outbox to be started or signalled."""
        outbox = self.store.tables["outbox"]
        query = select(outbox.c.body).where(outbox.c.tenant_id == self.tenant.id, outbox.c.lane == "temporal")
        return [body["id"] for body in self.run(lambda tx: tx.session.scalars(query).all())]

    def close(self) -> None:
        """Hang up."""
        self._channel.close()
