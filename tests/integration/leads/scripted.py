"""Identity, dedupe and customers as leads meets them: gRPC servers with a small memory and faults to order.

They check tokens and access as the real ones do, keep keys unique, and remember request and reservation ids.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TypeVar

import grpc
from crm.customers.v1 import customers_pb2, customers_pb2_grpc
from crm.dedupe.v1 import dedupe_pb2, dedupe_pb2_grpc
from crm.identity.v1 import identity_pb2, identity_pb2_grpc, schedules_pb2, schedules_pb2_grpc

from services.chassis.errors import AlreadyExists, AppError, RuleViolation, not_found
from services.chassis.grpc_server import Server, current_tenant
from services.chassis.settings import Settings
from services.chassis.tokens import Verifier

# What dedupe makes unique where nothing else is said: a customer's name and a contact's phone.
CUSTOMER_NAME = (dedupe_pb2.SUBJECT_KIND_CUSTOMER, dedupe_pb2.RULE_FIELD_NAME)
CONTACT_PHONE = (dedupe_pb2.SUBJECT_KIND_CONTACT, dedupe_pb2.RULE_FIELD_PHONE)

Key = tuple[int, int, str]
Scripted = TypeVar("Scripted")


@dataclass
class Held:
    """Who holds a key."""

    subject_id: str
    reservation_id: str
    holder_name: str


@dataclass
class World:
    """A tenant's people, keys and customers. rules: those that are on.

    before and after: errors to answer with, by method, once each; `after` lets the call have its effect first.
    hooks: called before a method does anything, once each.
    """

    rules: set[tuple[int, int]] = field(default_factory=lambda: {CUSTOMER_NAME, CONTACT_PHONE})
    people: dict[str, identity_pb2.GetPersonResponse] = field(default_factory=dict)
    # Who is not there, and why.
    away: dict[str, schedules_pb2.Presence.ValueType] = field(default_factory=dict)
    keys: dict[Key, Held] = field(default_factory=dict)
    # Further customers of a name, from when its rule was off.
    namesakes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    cancelled: set[str] = field(default_factory=set)
    customers: dict[str, str] = field(default_factory=dict)
    contacts: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    written: dict[str, customers_pb2.CreateForConversionRequest] = field(default_factory=dict)
    before: dict[str, list[AppError]] = field(default_factory=lambda: defaultdict(list))
    after: dict[str, list[AppError]] = field(default_factory=lambda: defaultdict(list))
    hooks: dict[str, list[Callable[[], None]]] = field(default_factory=lambda: defaultdict(list))
    lock: RLock = field(default_factory=RLock)

    def add_person(
        self, person_id: str, name: str, *rights: str, active: bool = True, department_path: str = "1/"
    ) -> None:
        """Add a member of staff."""
        self.people[person_id] = identity_pb2.GetPersonResponse(
            person=identity_pb2.Person(person_id=person_id, name=name, active=active, rights=rights),
            department_path=department_path,
        )

    def add_customer(self, customer_id: str, name: str) -> None:
        """Add an active customer with its keys."""
        self.customers[customer_id] = name
        self.keys[*CUSTOMER_NAME, name] = Held(customer_id, "old", "王**")

    def add_contact(self, contact_id: str, customer_id: str, phone: str) -> None:
        """Add a contact with its keys."""
        self.contacts[contact_id] = (customer_id, "老李", phone)
        self.keys[*CONTACT_PHONE, phone] = Held(contact_id, "old", "李*")

    @contextmanager
    def call(self, method: str) -> Iterator[None]:
        """One call at a time, with the faults that were ordered for it."""
        for hook in _take(self.hooks[method]):
            hook()
        with self.lock:
            for error in _take(self.before[method]):
                raise error
            yield
            for error in _take(self.after[method]):
                raise error

    def keys_of(self, subject: dedupe_pb2.Subject) -> list[Key]:
        """Return what the rules that are on make unique."""
        keys: list[Key] = [(subject.kind, dedupe_pb2.RULE_FIELD_NAME, subject.name)]
        keys += [(subject.kind, dedupe_pb2.RULE_FIELD_PHONE, phone) for phone in subject.phones]
        return [key for key in keys if key[:2] in self.rules]


def _take(script: list[Scripted]) -> list[Scripted]:
    return [script.pop(0)] if script else []


@dataclass
class Worlds:
    """The worlds of every tenant."""

    by_tenant: dict[str, World] = field(default_factory=lambda: defaultdict(World))

    def here(self) -> World:
        """Return the world of the call at hand."""
        return self.by_tenant[current_tenant().id]


class ScriptedIdentity(identity_pb2_grpc.IdentityServiceServicer):
    """Knows people."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def GetPerson(
        self, request: identity_pb2.GetPersonRequest, context: grpc.ServicerContext
    ) -> identity_pb2.GetPersonResponse:
        world = self._worlds.here()
        with world.call("GetPerson"):
            if request.person_id not in world.people:
                raise not_found("person", "人员", request.person_id)
            return world.people[request.person_id]


class ScriptedSchedules(schedules_pb2_grpc.SchedulesServiceServicer):
    """Knows who is there."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def FindPresence(
        self, request: schedules_pb2.FindPresenceRequest, context: grpc.ServicerContext
    ) -> schedules_pb2.FindPresenceResponse:
        world = self._worlds.here()
        with world.call("FindPresence"):
            return schedules_pb2.FindPresenceResponse(
                people=[
                    schedules_pb2.PersonPresence(
                        person_id=person_id,
                        presence=world.away.get(person_id, schedules_pb2.PRESENCE_AVAILABLE),
                    )
                    for person_id in request.person_ids
                    if person_id in world.people
                ]
            )


class ScriptedDedupe(dedupe_pb2_grpc.DedupeServiceServicer):
    """Keeps keys unique."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def FindHolders(
        self, request: dedupe_pb2.FindHoldersRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.FindHoldersResponse:
        world = self._worlds.here()
        with world.call("FindHolders"):
            keys = [key for subject in request.subjects for key in world.keys_of(subject)]
            return dedupe_pb2.FindHoldersResponse(
                holders=[
                    dedupe_pb2.Holder(
                        kind=dedupe_pb2.SubjectKind.ValueType(kind),
                        field=dedupe_pb2.RuleField.ValueType(rule),
                        subject_id=world.keys[kind, rule, value].subject_id,
                        holder_name=world.keys[kind, rule, value].holder_name,
                    )
                    for kind, rule, value in keys
                    if (kind, rule, value) in world.keys
                ]
                + [
                    dedupe_pb2.Holder(
                        kind=dedupe_pb2.SUBJECT_KIND_CUSTOMER, subject_id=namesake, holder_name="赵*"
                    )
                    for subject in request.subjects
                    for namesake in world.namesakes[subject.name]
                ]
            )

    def ReserveKeys(
        self, request: dedupe_pb2.ReserveKeysRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.ReserveKeysResponse:
        world = self._worlds.here()
        with world.call("ReserveKeys"):
            if request.reservation_id in world.cancelled:
                raise RuleViolation("RESERVATION_CANCELLED", "该请求已作废", "This request was given up")
            wanted = {key: subject for subject in request.subjects for key in world.keys_of(subject)}
            for key, subject in wanted.items():
                held = world.keys.get(key)
                if held and held.subject_id != subject.subject_id:
                    raise AlreadyExists("KEY_HELD", "已被占用", "Held", holder=held.holder_name)
            for key, subject in wanted.items():
                world.keys[key] = Held(
                    subject.subject_id, request.reservation_id, request.holder_name[:1] + "*"
                )
            return dedupe_pb2.ReserveKeysResponse()

    def ReleaseReservation(
        self, request: dedupe_pb2.ReleaseReservationRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.ReleaseReservationResponse:
        world = self._worlds.here()
        with world.call("ReleaseReservation"):
            world.cancelled.add(request.reservation_id)
            world.keys = {
                key: held for key, held in world.keys.items() if held.reservation_id != request.reservation_id
            }
            return dedupe_pb2.ReleaseReservationResponse()


class ScriptedCustomers(customers_pb2_grpc.CustomersServiceServicer):
    """Writes customers and contacts, once for each request id."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def CreateForConversion(
        self, request: customers_pb2.CreateForConversionRequest, context: grpc.ServicerContext
    ) -> customers_pb2.CreateForConversionResponse:
        world = self._worlds.here()
        with world.call("CreateForConversion"):
            if request.request_id in world.written:
                assert world.written[request.request_id] == request, "a repeat with other content"
                return customers_pb2.CreateForConversionResponse()
            if request.reservation_id in world.cancelled:
                raise RuleViolation("RESERVATION_CANCELLED", "该请求已作废", "This request was given up")
            if request.create_customer:
                assert request.customer_id not in world.customers
                world.customers[request.customer_id] = request.name
            elif request.customer_id not in world.customers:
                raise not_found("customer", "客户", request.customer_id)
            if request.contact_id:
                assert request.contact_id not in world.contacts
                world.contacts[request.contact_id] = (
                    request.customer_id,
                    request.contact_name,
                    request.contact_phone,
                )
            world.written[request.request_id] = request
            return customers_pb2.CreateForConversionResponse()

    def SettleReservation(
        self, request: customers_pb2.SettleReservationRequest, context: grpc.ServicerContext
    ) -> customers_pb2.SettleReservationResponse:
        world = self._worlds.here()
        with world.call("SettleReservation"):
            if any(written.reservation_id == request.reservation_id for written in world.written.values()):
                return customers_pb2.SettleReservationResponse(result=customers_pb2.SETTLE_RESULT_WRITTEN)
            world.cancelled.add(request.reservation_id)
            return customers_pb2.SettleReservationResponse(result=customers_pb2.SETTLE_RESULT_CANCELLED)


@contextmanager
def scripted_services(settings: Settings, worlds: Worlds) -> Iterator[Mapping[str, str]]:
    """Serve all three; give their addresses by service."""
    servers = {
        name: Server(name, Verifier(settings.trusted_keys)) for name in ("identity", "dedupe", "customers")
    }
    # What is not written here answers UNIMPLEMENTED, as in any servicer.
    identity = ScriptedIdentity(worlds)  # type: ignore[abstract]  # the rest is never asked
    schedules = ScriptedSchedules(worlds)  # type: ignore[abstract]  # the rest is never asked
    dedupe = ScriptedDedupe(worlds)  # type: ignore[abstract]  # the rest is never asked
    customers = ScriptedCustomers(worlds)  # type: ignore[abstract]  # the rest is never asked
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(identity, servers["identity"].grpc)
    schedules_pb2_grpc.add_SchedulesServiceServicer_to_server(schedules, servers["identity"].grpc)
    dedupe_pb2_grpc.add_DedupeServiceServicer_to_server(dedupe, servers["dedupe"].grpc)
    customers_pb2_grpc.add_CustomersServiceServicer_to_server(customers, servers["customers"].grpc)
    with ExitStack() as stack:
        for server in servers.values():
            stack.callback(server.stop, 0)
        yield {name: f"127.0.0.1:{server.start('127.0.0.1', 0)}" for name, server in servers.items()}
