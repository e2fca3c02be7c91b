"""The service that dedupe asks: customers writes what keys are reserved for."""

from crm.customers.v1 import customers_pb2, customers_pb2_grpc

from services.chassis.grpc_client import Client
from services.chassis.tenancy import Tenant


class Customers:
    """The writer of customers and contacts, conversions' ones too."""

    def __init__(self, client: Client[customers_pb2_grpc.CustomersServiceStub]) -> None:
        self._client = client

    def has_written(self, tenant: Tenant, reservation_id: str) -> bool:
        """Tell whether the reservation's records exist; if not, they never will."""
        answer = self._client.call(
            self._client.stub.SettleReservation,
            customers_pb2.SettleReservationRequest(reservation_id=reservation_id),
            tenant=tenant,
        )
        return answer.result == customers_pb2.SETTLE_RESULT_WRITTEN
