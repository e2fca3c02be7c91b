"""The other services that telephony asks: customers who is calling, identity for a colleague's mobile."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from crm.customers.v1 import customers_pb2, customers_pb2_grpc, numbers_pb2, numbers_pb2_grpc
from crm.identity.v1 import identity_pb2, identity_pb2_grpc

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


def identity(runtime: Runtime) -> Identity:
    """Return the client of the identity service."""
    return Identity(runtime.client("identity", identity_pb2_grpc.IdentityServiceStub))
