"""Numbers for services that dial or send: proto to use case and back."""

import grpc
from crm.customers.v1 import numbers_pb2 as pb
from crm.customers.v1 import numbers_pb2_grpc as pb_grpc

from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.customers.usecases.numbers import resolve_number


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
