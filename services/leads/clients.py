"""The services that leads calls: identity for people, dedupe for keys, customers for what a conversion makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from crm.customers.v1 import customers_pb2
from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub
from crm.dedupe.v1 import dedupe_pb2
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from crm.identity.v1 import identity_pb2, schedules_pb2
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub
from crm.identity.v1.schedules_pb2_grpc import SchedulesServiceStub

from services.chassis.errors import NotFound
from services.chassis.grpc_client import Client
from services.chassis.service import Runtime
from services.chassis.tenancy import Tenant
from services.chassis.timestamps import timestamp
from services.leads.domain.conversion import Holder, RecordKind
from services.leads.usecases.leads import Person

RECORD_KINDS = {
    dedupe_pb2.SUBJECT_KIND_CUSTOMER: RecordKind.CUSTOMER,
    dedupe_pb2.SUBJECT_KIND_CONTACT: RecordKind.CONTACT,
}

# Of a time at which somebody takes no new task.
ABSENT = frozenset(
    {
        schedules_pb2.PRESENCE_ON_LEAVE,
        schedules_pb2.PRESENCE_DAY_OFF,
        schedules_pb2.PRESENCE_OFF_SHIFT,
    }
)


@dataclass(frozen=True)
class Subject:
    """A record that a conversion is about to make. phones: E.164."""

    kind: RecordKind
    subject_id: str
    name: str
    phones: tuple[str, ...] = ()


class Identity:
    """People, and who of them is there."""

    def __init__(self, runtime: Runtime, timeout_s: float) -> None:
        self._client: Client[IdentityServiceStub] = runtime.client("identity", IdentityServiceStub)
        self._schedules: Client[SchedulesServiceStub] = runtime.client("identity", SchedulesServiceStub)
        self._timeout_s = timeout_s

    def person(self, tenant: Tenant, actor_id: str, person_id: str) -> Person:
        """Return a member of staff; raises NotFound."""
        answer = self._client.call(
            self._client.stub.GetPerson,
            identity_pb2.GetPersonRequest(person_id=person_id),
            tenant=tenant,
            actor_id=actor_id,
            timeout_s=self._timeout_s,
        )
        return Person(
            person_id=answer.person.person_id,
            name=answer.person.name,
            active=answer.person.active,
            rights=frozenset(answer.person.rights),
            department_path=answer.department_path,
            roles=tuple(answer.person.roles),
            region_ids=tuple(answer.person.region_department_ids),
        )

    def people(self, tenant: Tenant, person_ids: Sequence[str]) -> list[Person]:
        """Return those of these people whom identity knows."""
        found = []
        for person_id in person_ids:
            try:
                found.append(self.person(tenant, "", person_id))
            except NotFound:
                # Gone for good: whoever asks sees that nobody is there.
                continue
        return found

    def absent(self, tenant: Tenant, person_ids: Sequence[str], at: datetime) -> frozenset[str]:
        """Return who of these people is on leave, has a day off or is off shift at a time."""
        if not person_ids:
            return frozenset()
        answer = self._schedules.call(
            self._schedules.stub.FindPresence,
            schedules_pb2.FindPresenceRequest(person_ids=person_ids, time=timestamp(at)),
            tenant=tenant,
            actor_id="",
            timeout_s=self._timeout_s,
        )
        return frozenset(person.person_id for person in answer.people if person.presence in ABSENT)


class Dedupe:
    """Keys."""

    def __init__(self, runtime: Runtime, timeout_s: float) -> None:
        self._client: Client[DedupeServiceStub] = runtime.client("dedupe", DedupeServiceStub)
        self._timeout_s = timeout_s

    def holders(self, tenant: Tenant, actor_id: str, subjects: Sequence[Subject]) -> list[Holder]:
        """Return who holds the keys of these records, by the rules that are on.

        A kind of record that is not known here is left out: its keys still refuse the reservation.
        """
        answer = self._client.call(
            self._client.stub.FindHolders,
            dedupe_pb2.FindHoldersRequest(subjects=map(_subject, subjects)),
            tenant=tenant,
            actor_id=actor_id,
            timeout_s=self._timeout_s,
        )
        return [
            Holder(RECORD_KINDS[holder.kind], holder.subject_id, holder.holder_name)
            for holder in answer.holders
            if holder.kind in RECORD_KINDS
        ]

    def reserve(
        self,
        tenant: Tenant,
        actor_id: str,
        reservation_id: str,
        subjects: Sequence[Subject],
        holder_name: str,
    ) -> None:
        """Take every key of these records or none; raises AlreadyExists KEY_HELD."""
        self._client.call(
            self._client.stub.ReserveKeys,
            dedupe_pb2.ReserveKeysRequest(
                reservation_id=reservation_id,
                subjects=map(_subject, subjects),
                holder_id=actor_id,
                holder_name=holder_name,
            ),
            tenant=tenant,
            actor_id=actor_id,
            timeout_s=self._timeout_s,
        )

    def release(self, tenant: Tenant, actor_id: str, reservation_id: str) -> None:
        """Give the keys of a reservation back."""
        self._client.call(
            self._client.stub.ReleaseReservation,
            dedupe_pb2.ReleaseReservationRequest(reservation_id=reservation_id),
            tenant=tenant,
            actor_id=actor_id,
            timeout_s=self._timeout_s,
        )


class Customers:
    """Customers and contacts."""

    def __init__(self, runtime: Runtime, timeout_s: float) -> None:
        self._client: Client[CustomersServiceStub] = runtime.client("customers", CustomersServiceStub)
        self._timeout_s = timeout_s

    def create(
        self,
        tenant: Tenant,
        actor_id: str,
        *,
        request_id: str,
        reservation_id: str,
        customer: Subject,
        create_customer: bool,
        contact: Subject | None,
    ) -> None:
        """Write the customer and the contact at once, or link the customer that is there.

        Raises whatever rule of customers refuses it.
        """
        request = customers_pb2.CreateForConversionRequest(
            request_id=request_id,
            reservation_id=reservation_id,
            actor_id=actor_id,
            customer_id=customer.subject_id,
            create_customer=create_customer,
            name=customer.name if create_customer else "",
        )
        if contact:
            request.contact_id, request.contact_name = contact.subject_id, contact.name
            request.contact_phone = next(iter(contact.phones), "")
        self._client.call(
            self._client.stub.CreateForConversion,
            request,
            tenant=tenant,
            actor_id=actor_id,
            timeout_s=self._timeout_s,
        )

    def settle(self, tenant: Tenant, actor_id: str, reservation_id: str) -> bool:
        """Return whether something was written under a reservation; if not, nothing will be from now on."""
        answer = self._client.call(
            self._client.stub.SettleReservation,
            customers_pb2.SettleReservationRequest(reservation_id=reservation_id),
            tenant=tenant,
            actor_id=actor_id,
            timeout_s=self._timeout_s,
        )
        return answer.result == customers_pb2.SETTLE_RESULT_WRITTEN


def _subject(subject: Subject) -> dedupe_pb2.Subject:
    kind = next(kind for kind, ours in RECORD_KINDS.items() if ours is subject.kind)
    return dedupe_pb2.Subject(
        kind=kind, subject_id=subject.subject_id, name=subject.name, phones=subject.phones
    )
