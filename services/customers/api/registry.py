"""The business registry: proto to provider and back."""

import grpc
from crm.customers.v1 import registry_pb2 as pb
from crm.customers.v1 import registry_pb2_grpc as pb_grpc

from services.chassis.errors import not_found
from services.customers.domain.registry import SHORTEST_QUERY, Company
from services.customers.registry import CompanyRegistry
from services.kernel.credit_codes import parse_credit_code
from services.kernel.texts import parse_text


class RegistryApi(pb_grpc.RegistryServiceServicer):
    """Answers for registered companies."""

    def __init__(self, registry: CompanyRegistry) -> None:
        self._registry = registry

    def SearchCompanies(
        self, request: pb.SearchCompaniesRequest, context: grpc.ServicerContext
    ) -> pb.SearchCompaniesResponse:
        """Return candidates for what was typed."""
        query = parse_text(request.query, "query", 100, required=False)
        found = self._registry.search(query) if len(query) >= SHORTEST_QUERY else []
        return pb.SearchCompaniesResponse(
            companies=[
                pb.Company(
                    credit_code=company.credit_code,
                    name=company.name,
                    legal_person=company.legal_person,
                    region=company.region,
                    status=company.status,
                )
                for company in found
            ]
        )

    def GetCompany(
        self, request: pb.GetCompanyRequest, context: grpc.ServicerContext
    ) -> pb.GetCompanyResponse:
        """Return a company with everything."""
        code = parse_credit_code(request.credit_code, "credit_code")
        company = self._registry.get(code)
        if company is None:
            raise not_found("company", "工商登记企业", code)
        return pb.GetCompanyResponse(company=_message(company))


def _message(company: Company) -> pb.Company:
    return pb.Company(**vars(company))
