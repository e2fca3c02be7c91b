"""The services that customers calls: dedupe for keys, identity for people."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from crm.dedupe.v1 import dedupe_pb2
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from crm.identity.v1 import identity_pb2
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

from services.chassis.grpc_client import Client
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.customers import ContactDraft, CustomerDraft
from services.kernel.phones import PhoneNumber

# How long a refused create waits for its keys to be given back, in seconds; settling does it else.
RELEASE_TIMEOUT_S = 2.0
# How long a batch of hundreds may take, in seconds.
BATCH_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Person:
    """A member of staff, as far as customers needs to know."""

    active: bool
    rights: frozenset[str]
    department_path: str
    name: str = ""


@dataclass(frozen=True)
class Holder:
    """For whom keys are taken. name: leaves dedupe masked only."""

    person_id: str
    name: str


@dataclass(frozen=True)
class Refusal:
    """Why a reservation of a batch was not made: reason and texts of the error."""

    reason: str
    zh: str
    en: str


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
        person = answer.person
        return Person(person.active, frozenset(person.rights), answer.department_path, person.name)

    def names(self, tenant: Tenant, person_ids: Collection[str], actor_id: str) -> Mapping[str, str]:
        """Return the names of those of these people whom identity knows, by id."""
        answer = self._client.call(
            self._client.stub.ListPersonNames,
            identity_pb2.ListPersonNamesRequest(person_ids=person_ids),
            tenant=tenant,
            actor_id=actor_id,
        )
        return answer.names


class Dedupe:
    """Keys of customers and contacts."""

    def __init__(self, client: Client[DedupeServiceStub]) -> None:
        self._client = client

    def reserve(self, tenant: Tenant, caller: Caller, reservation_id: str, draft: CustomerDraft) -> None:
        """Take every key of a new customer and its contacts; raises AlreadyExists KEY_HELD."""
        self._client.call(
            self._client.stub.ReserveKeys,
            dedupe_pb2.ReserveKeysRequest(
                reservation_id=reservation_id,
                subjects=_subjects(draft),
                holder_id=caller.person_id,
                holder_name=caller.name,
            ),
            tenant=tenant,
            actor_id=caller.actor_id,
        )

    def reserve_batch(
        self,
        tenant: Tenant,
        holder: Holder,
        drafts: Sequence[tuple[str, CustomerDraft]],
        *,
        validate_only: bool = False,
    ) -> dict[str, Refusal]:
        """Take the keys of many new customers, each with its reservation's id; return why not for those refused.

        validate_only: take nothing, only tell.
        """
        answer = self._client.call(
            self._client.stub.ReserveKeysBatch,
            dedupe_pb2.ReserveKeysBatchRequest(
                reservations=[
                    dedupe_pb2.ReserveKeysRequest(reservation_id=reservation_id, subjects=_subjects(draft))
                    for reservation_id, draft in drafts
                ],
                holder_id=holder.person_id,
                holder_name=holder.name,
                validate_only=validate_only,
            ),
            tenant=tenant,
            actor_id=holder.person_id,
            timeout_s=BATCH_TIMEOUT_S,
        )
        return {
            reservation_id: Refusal(result.reason, result.message_zh, result.message_en)
            for (reservation_id, _), result in zip(drafts, answer.results, strict=True)
            if result.reason
        }

    def reserve_more(
        self,
        tenant: Tenant,
        caller: Caller,
        reservation_id: str,
        customer_id: str,
        name: str,
        phones: Sequence[PhoneNumber] = (),
        contacts: Sequence[ContactDraft] = (),
        credit_code: str = "",
    ) -> None:
        """Take further keys for a customer that there is: a new name, code, numbers, contacts; raises KEY_HELD."""
        subjects = _subjects(
            CustomerDraft(
                customer_id, name, phones=tuple(phones), contacts=tuple(contacts), credit_code=credit_code
            )
        )
        self._client.call(
            self._client.stub.ReserveKeys,
            dedupe_pb2.ReserveKeysRequest(
                reservation_id=reservation_id,
                # What has neither a new name nor a code or numbers asks for nothing.
                subjects=[
                    subject for subject in subjects if subject.name or subject.credit_code or subject.phones
                ],
                holder_id=caller.person_id,
                holder_name=caller.name,
            ),
            tenant=tenant,
            actor_id=caller.actor_id,
        )

    def confirm_batch(self, tenant: Tenant, reservation_ids: Sequence[str]) -> None:
        """Say that the rows of these reservations are written: sooner than the events that say it too."""
        self._client.call(
            self._client.stub.ConfirmReservations,
            dedupe_pb2.ConfirmReservationsRequest(reservation_ids=reservation_ids),
            tenant=tenant,
            timeout_s=BATCH_TIMEOUT_S,
        )

    def release(self, tenant: Tenant, reservation_id: str) -> None:
        """Give the keys back of what was not written and never will be."""
        self._client.call(
            self._client.stub.ReleaseReservation,
            dedupe_pb2.ReleaseReservationRequest(reservation_id=reservation_id),
            tenant=tenant,
            timeout_s=RELEASE_TIMEOUT_S,
        )


def _subjects(draft: CustomerDraft) -> list[dedupe_pb2.Subject]:
    """Return a new customer and its contacts as dedupe knows them."""
    return [
        dedupe_pb2.Subject(
            kind=dedupe_pb2.SUBJECT_KIND_CUSTOMER,
            subject_id=draft.id,
            name=draft.name,
            phones=[phone.key for phone in draft.phones],
            address=draft.address,
            credit_code=draft.credit_code,
        ),
        *(
            dedupe_pb2.Subject(
                kind=dedupe_pb2.SUBJECT_KIND_CONTACT,
                subject_id=contact.id,
                name=contact.name,
                phones=[phone.key for phone in contact.phones],
                customer_id=draft.id,
            )
            for contact in draft.contacts
        ),
    ]
