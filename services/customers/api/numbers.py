"""Numbers for services that dial or send: proto to use case and back."""

from collections.abc import Sequence

import grpc
from crm.customers.v1 import numbers_pb2 as pb
from crm.customers.v1 import numbers_pb2_grpc as pb_grpc

from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.customers.usecases.numbers import resolve_mails, resolve_mobiles, resolve_number

# Customers whose mobiles are asked for at once, at most.
MOST_CUSTOMERS = 200


class NumbersApi(pb_grpc.NumbersServiceServicer, Api):
    """Answers services that need a number in full."""

    def ResolveNumber(
        self, request: pb.ResolveNumberRequest, context: grpc.ServicerContext
    ) -> pb.ResolveNumberResponse:
        """Return the number behind a record; raises NotFound PHONE_NOT_FOUND."""
        customer_id = parse_id(request.customer_id, "customer_id")
        phone_id = parse_id(request.phone_id, "phone_id")

        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            phone = resolve_number(tx, customer_id, phone_id)
            return pb.ResolveNumberResponse(number=phone.e164, extension=phone.extension)

    def ResolveMobiles(
        self, request: pb.ResolveMobilesRequest, context: grpc.ServicerContext
    ) -> pb.ResolveMobilesResponse:
        """Return the mobiles behind customers; raises InvalidInput TOO_MANY_CUSTOMERS."""
        customer_ids = _customer_ids(request.customer_ids)
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            return pb.ResolveMobilesResponse(
                mobiles=[
                    pb.Mobile(
                        customer_id=mobile.customer_id,
                        customer_name=mobile.customer_name,
                        contact_name=mobile.contact_name,
                        phone_id=mobile.phone_id,
                        number=mobile.number,
                    )
                    for mobile in resolve_mobiles(tx, customer_ids)
                ]
            )

    def ResolveMails(
        self, request: pb.ResolveMailsRequest, context: grpc.ServicerContext
    ) -> pb.ResolveMailsResponse:
        """Return the mail addresses of customers; raises InvalidInput TOO_MANY_CUSTOMERS."""
        customer_ids = _customer_ids(request.customer_ids)
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            return pb.ResolveMailsResponse(
                mails=[pb.Mail(**vars(mail)) for mail in resolve_mails(tx, customer_ids)]
            )


def _customer_ids(asked: Sequence[str]) -> list[str]:
    if len(asked) > MOST_CUSTOMERS:
        raise InvalidInput(
            "customer_ids",
            "TOO_MANY_CUSTOMERS",
            "一次最多{most}个客户",
            "At most {most} customers at once",
            most=MOST_CUSTOMERS,
        )
    return [parse_id(customer_id, "customer_ids") for customer_id in asked]
