"""The other services that telephony asks: who is calling, a colleague's mobile, what others asked a price for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crm.customers.v1 import customers_pb2, customers_pb2_grpc, numbers_pb2, numbers_pb2_grpc
from crm.dedupe.v1 import dedupe_pb2, dedupe_pb2_grpc
from crm.identity.v1 import identity_pb2, identity_pb2_grpc
from crm.leads.v1 import leads_pb2, leads_pb2_grpc

from services.chassis.declarations import note_scope_asked
from services.chassis.grpc_client import Client
from services.chassis.service import Runtime
from services.chassis.tenancy import Tenant
from services.telephony.domain.bulk import STAGED_AT_ONCE
from services.telephony.usecases.bulk import Mobile, Portion
from services.telephony.usecases.calls import Caller


class Directory(Protocol):
    """Tell who has a number."""

    def callers(self, tenant: Tenant, number: str, timeout_s: float) -> Sequence[Caller]:
        """Return who may be calling, best first; raises AppError."""


class Customers:
    """Ask the customers service."""

    def __init__(
        self,
        client: Client[customers_pb2_grpc.CustomersServiceStub],
        numbers: Client[numbers_pb2_grpc.NumbersServiceStub],
    ) -> None:
        self._client = client
        self._numbers = numbers

    def number(self, tenant: Tenant, person_id: str, customer_id: str, phone_id: str) -> str:
        """Return the number behind a record, E.164, on behalf of a person; raises AppError."""
        request = numbers_pb2.ResolveNumberRequest(customer_id=customer_id, phone_id=phone_id)
        return self._numbers.call(
            self._numbers.stub.ResolveNumber, request, tenant=tenant, actor_id=person_id
        ).number

    def callers(self, tenant: Tenant, number: str, timeout_s: float) -> Sequence[Caller]:
        """Return who may be calling, best first; raises AppError."""
        answer = self._client.call(
            self._client.stub.MatchPhone,
            customers_pb2.MatchPhoneRequest(number=number),
            tenant=tenant,
            timeout_s=timeout_s,
        )
        return [
            Caller(
                customer_id=found.customer_id,
                customer_name=found.customer_name,
                contact_id=found.contact_id,
                contact_name=found.contact_name,
                owner_id=found.owner_id,
                reasons=tuple(found.reasons),
            )
            for found in answer.candidates
        ]

    def portion(
        self, tenant: Tenant, person_id: str, token: str, selection: Mapping[str, str], page_token: str
    ) -> Portion:
        """Return a page of a list of customers as the person of the token sees it, with their mobiles; raises AppError.

        selection: view, poolId, query and filter, as the list takes them.
        """
        request = customers_pb2.ListCustomersRequest(
            view=customers_pb2.CustomerView.Value(selection["view"]),
            pool_id=selection["poolId"],
            query=selection["query"],
            filter=selection["filter"],
            page_size=STAGED_AT_ONCE,
            page_token=page_token,
        )
        page = self._client.forward(self._client.stub.ListCustomers, request, token)
        customer_ids = [customer.customer_id for customer in page.customers]
        mobiles = self.mobiles(tenant, person_id, customer_ids)
        return Portion(customer_ids, list(mobiles.values()), page.next_page_token)

    def mobiles(self, tenant: Tenant, person_id: str, customer_ids: Sequence[str]) -> dict[str, Mobile]:
        """Return the mobiles behind customers by phone id, on behalf of a person who may see them; raises AppError."""
        if not customer_ids:
            return {}
        answer = self._numbers.call(
            self._numbers.stub.ResolveMobiles,
            numbers_pb2.ResolveMobilesRequest(customer_ids=customer_ids),
            tenant=tenant,
            actor_id=person_id,
        )
        return {
            found.phone_id: Mobile(found.customer_id, found.customer_name, found.contact_name, found.number)
            for found in answer.mobiles
        }

    def customer(self, customer_id: str, token: str) -> customers_pb2.Customer:
        """Return a customer as the person of the token may see it; raises AppError."""
        request = customers_pb2.GetCustomerRequest(customer_id=customer_id)
        found = self._client.forward(self._client.stub.GetCustomer, request, token).customer
        # Customers did, in the person's name.
        note_scope_asked()
        return found


class Leads:
    """Ask the leads service."""

    def __init__(self, client: Client[leads_pb2_grpc.LeadsServiceStub]) -> None:
        self._client = client

    def callers(self, tenant: Tenant, number: str, timeout_s: float) -> Sequence[Caller]:
        """Return which leads may be calling, the latest first; raises AppError."""
        request = leads_pb2.MatchLeadPhoneRequest(number=number)
        answer = self._client.call(
            self._client.stub.MatchLeadPhone, request, tenant=tenant, timeout_s=timeout_s
        )
        return [
            Caller(
                customer_id="",
                customer_name=found.company or found.name,
                contact_name=found.name if found.company else "",
                owner_id=found.owner_id,
                reasons=("exact_number", "lead"),
                lead_id=found.lead_id,
            )
            for found in answer.candidates
        ]

    def lead(self, lead_id: str, token: str) -> leads_pb2.Lead:
        """Return a lead as the person of the token may see it; raises AppError."""
        request = leads_pb2.GetLeadRequest(lead_id=lead_id)
        return self._client.forward(self._client.stub.GetLead, request, token).lead


@dataclass(frozen=True)
class Everybody:
    """Ask customers who has a number and, where nobody there has it, leads."""

    customers: Directory
    leads: Directory

    def callers(self, tenant: Tenant, number: str, timeout_s: float) -> Sequence[Caller]:
        """Return who may be calling, best first; raises AppError."""
        # A lead with a customer's number is that customer asking again: it would only make the agent choose.
        return self.customers.callers(tenant, number, timeout_s) or self.leads.callers(
            tenant, number, timeout_s
        )


class Dedupe:
    """Ask the dedupe service."""

    def __init__(self, client: Client[dedupe_pb2_grpc.DedupeServiceStub]) -> None:
        self._client = client

    def record_inquiry(
        self, request: dedupe_pb2.RecordInquiryRequest, token: str
    ) -> dedupe_pb2.RecordInquiryResponse:
        """Record what somebody asks a price for, in the name of the token's person; raises AppError."""
        return self._client.forward(self._client.stub.RecordInquiry, request, token)


class Identity:
    """Ask the identity service."""

    def __init__(self, client: Client[identity_pb2_grpc.IdentityServiceStub]) -> None:
        self._client = client

    def mobile(self, tenant: Tenant, person_id: str) -> str:
        """Return a person's mobile in E.164, "" for none; raises AppError."""
        request = identity_pb2.ResolveMobileRequest(person_id=person_id)
        return self._client.call(self._client.stub.ResolveMobile, request, tenant=tenant).mobile


def customers(runtime: Runtime) -> Customers:
    """Return the client of the customers service."""
    return Customers(
        runtime.client("customers", customers_pb2_grpc.CustomersServiceStub),
        runtime.client("customers", numbers_pb2_grpc.NumbersServiceStub),
    )


def leads(runtime: Runtime) -> Leads:
    """Return the client of the leads service."""
    return Leads(runtime.client("leads", leads_pb2_grpc.LeadsServiceStub))


def dedupe(runtime: Runtime) -> Dedupe:
    """Return the client of the dedupe service."""
    return Dedupe(runtime.client("dedupe", dedupe_pb2_grpc.DedupeServiceStub))


def identity(runtime: Runtime) -> Identity:
    """Return the client of the identity service."""
    return Identity(runtime.client("identity", identity_pb2_grpc.IdentityServiceStub))
