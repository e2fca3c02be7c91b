"""The gRPC API of customers: one module for each subject, one servicer."""

from crm.customers.v1 import customers_pb2_grpc as pb_grpc

from services.customers.api.ownership import OwnershipApi
from services.customers.api.records import RecordsApi
from services.customers.api.services import ServicesApi


class CustomersApi(RecordsApi, OwnershipApi, ServicesApi, pb_grpc.CustomersServiceServicer):
    """Answers for customers, pools and who owns what."""
