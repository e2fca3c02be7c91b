"""The services that notify calls: orders, telephony for SMS, identity for managers."""

from collections.abc import Mapping

from crm.customers.v1 import customers_pb2, numbers_pb2
from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub
from crm.customers.v1.numbers_pb2_grpc import NumbersServiceStub
from crm.identity.v1 import identity_pb2
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub
from crm.orders.v1 import orders_pb2
from crm.orders.v1.orders_pb2_grpc import OrdersServiceStub
from crm.telephony.v1 import sms_pb2, telephony_pb2
from crm.telephony.v1.sms_pb2_grpc import SmsServiceStub
from crm.telephony.v1.telephony_pb2_grpc import TelephonyServiceStub

from services.chassis.declarations import note_scope_asked
from services.chassis.grpc_client import Client
from services.chassis.service import Runtime
from services.chassis.tenancy import Tenant
from services.notify.domain.bulk_mail import STAGED_AT_ONCE
from services.notify.usecases.bulk_mails import Address, Portion
from services.notify.workflows.contracts import RPC_TIMEOUT_S


class Orders:
    """Orders and whether they were handled."""

    def __init__(self, runtime: Runtime) -> None:
        self._client: Client[OrdersServiceStub] = runtime.client("orders", OrdersServiceStub)

    def is_handled(self, tenant: Tenant, order_id: str) -> bool:
        """Return whether an order's owner has accepted, submitted or closed it (O15); raises NotFound."""
        answer = self._client.call(
            self._client.stub.GetOrder,
            orders_pb2.GetOrderRequest(order_id=order_id),
            tenant=tenant,
            timeout_s=RPC_TIMEOUT_S,
        )
        return answer.order.state != orders_pb2.ORDER_STATE_GENERATED

    def check_visible(self, order_id: str, token: str) -> None:
        """Raise the refusal that whoever has this token gets for an order."""
        request = orders_pb2.GetOrderRequest(order_id=order_id)
        self._client.forward(self._client.stub.GetOrder, request, token)
        # Orders did, in the caller's name.
        note_scope_asked()


class Customers:
    """Lists of customers and their mail addresses."""

    def __init__(self, runtime: Runtime) -> None:
        self._client: Client[CustomersServiceStub] = runtime.client("customers", CustomersServiceStub)
        self._numbers: Client[NumbersServiceStub] = runtime.client("customers", NumbersServiceStub)

    def portion(
        self, tenant: Tenant, person_id: str, token: str, selection: Mapping[str, str], page_token: str
    ) -> Portion:
        """Return a page of a list as the person of the token sees it, with the mail addresses; raises AppError.

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
        if not customer_ids:
            return Portion((), (), page.next_page_token)
        mails = self._numbers.call(
            self._numbers.stub.ResolveMails,
            numbers_pb2.ResolveMailsRequest(customer_ids=customer_ids),
            tenant=tenant,
            actor_id=person_id,
        ).mails
        addresses = [Address(mail.customer_id, mail.customer_name, mail.address) for mail in mails]
        return Portion(customer_ids, addresses, page.next_page_token)


class Telephony:
    """The SMS edge."""

    def __init__(self, runtime: Runtime) -> None:
        self._client: Client[TelephonyServiceStub] = runtime.client("telephony", TelephonyServiceStub)
        self._sms: Client[SmsServiceStub] = runtime.client("telephony", SmsServiceStub)

    def send_sms(self, tenant: Tenant, sms_id: str, person_id: str, text: str) -> None:
        """Hand an SMS over, once for each id; raises RuleViolation NO_MOBILE."""
        self._client.call(
            self._client.stub.SendSms,
            telephony_pb2.SendSmsRequest(request_id=sms_id, person_id=person_id, text=text),
            tenant=tenant,
            timeout_s=RPC_TIMEOUT_S,
        )

    def measure(self, text: str, token: str) -> sms_pb2.MeasureSmsResponse:
        """Return how a text would be sent, asked in a person's name; raises InvalidInput."""
        request = sms_pb2.MeasureSmsRequest(text=text)
        return self._sms.forward(self._sms.stub.MeasureSms, request, token)


class Identity:
    """People and their roles."""

    def __init__(self, runtime: Runtime) -> None:
        self._client: Client[IdentityServiceStub] = runtime.client("identity", IdentityServiceStub)

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        """Return the active holders of a role over a person, never the person itself; raises NotFound."""
        answer = self._client.call(
            self._client.stub.FindRoleHolders,
            identity_pb2.FindRoleHoldersRequest(person_id=person_id, role=role),
            tenant=tenant,
            timeout_s=RPC_TIMEOUT_S,
        )
        return list(answer.person_ids)
