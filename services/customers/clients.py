"""The services that customers calls: dedupe for keys, identity for people."""

from dataclasses import dataclass

from crm.dedupe.v1 import dedupe_pb2
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from crm.identity.v1 import identity_pb2
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

from services.chassis.grpc_client import Client
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.customers import CustomerDraft

# How long a refused create waits for its keys to be given back, in seconds; settling does it else.
RELEASE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Person:
    """A member of staff, as far as customers needs to know."""

    active: bool
    rights: frozenset[str]
    department_path: str


class Identity:
    """People."""

    def __init__(self, client: Client[IdentityServiceStub]) -> None:
        self._client = client

    def person(self, tenant: Tenant, person_id: str, actor_id: str) -> Person:
        """Return a person; raises NotFound."""
        answer = self._client.call(
            self._client.stub.GetPerson,
            identity_pb2.GetPersonRequest(person_id=person_id),
            tenant=tenant,
            actor_id=actor_id,
        )
        return Person(answer.person.active, frozenset(answer.person.rights), answer.department_path)


class Dedupe:
    """Keys of customers and contacts."""

    def __init__(self, client: Client[DedupeServiceStub]) -> None:
        self._client = client

    def reserve(self, tenant: Tenant, caller: Caller, reservation_id: str, draft: CustomerDraft) -> None:
        """Take every key of a new customer and its contacts; raises AlreadyExists KEY_HELD."""
        subjects = [
            dedupe_pb2.Subject(
                kind=dedupe_pb2.SUBJECT_KIND_CUSTOMER,
                subject_id=draft.id,
                name=draft.name,
                phones=[phone.key for phone in draft.phones],
            ),
            *(
                dedupe_pb2.Subject(
                    kind=dedupe_pb2.SUBJECT_KIND_CONTACT,
                    subject_id=contact.id,
                    name=contact.name,
                    phones=[phone.key for phone in contact.phones],
                )
                for contact in draft.contacts
            ),
        ]
        self._client.call(
            self._client.stub.ReserveKeys,
            dedupe_pb2.ReserveKeysRequest(
                reservation_id=reservation_id,
                subjects=subjects,
                holder_id=caller.person_id,
                holder_name=caller.name,
            ),
            tenant=tenant,
            actor_id=caller.actor_id,
        )

    def release(self, tenant: Tenant, reservation_id: str) -> None:
        """Give the keys back of what was not written and never will be."""
        self._client.call(
            self._client.stub.ReleaseReservation,
            dedupe_pb2.ReleaseReservationRequest(reservation_id=reservation_id),
            tenant=tenant,
            timeout_s=RELEASE_TIMEOUT_S,
        )
