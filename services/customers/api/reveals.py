"""Revealed numbers: proto to use case and back."""

import grpc
from crm.customers.v1 import customers_pb2
from crm.customers.v1 import reveals_pb2 as pb
from crm.customers.v1 import reveals_pb2_grpc as pb_grpc

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.customers.usecases.reveals import reveal_number


class RevealsApi(pb_grpc.RevealsServiceServicer, Api):
    """Answers who needs a number in full."""

    def RevealNumber(
        self, request: pb.RevealNumberRequest, context: grpc.ServicerContext
    ) -> pb.RevealNumberResponse:
        """Show a number; see `reveal_number` for what is refused."""
        customer_id = parse_id(request.customer_id, "customer_id")
        phone_id = parse_id(request.phone_id, "phone_id")

        def work(tx: Transaction) -> pb.RevealNumberResponse:
            phone, left = reveal_number(tx, current_caller(), customer_id, phone_id, request.reason)
            shown = customers_pb2.Phone(phone_id=phone_id, number=phone.e164, extension=phone.extension)
            return pb.RevealNumberResponse(phone=shown, left_today=left)

        return self.write(request, pb.RevealNumberResponse, work)
