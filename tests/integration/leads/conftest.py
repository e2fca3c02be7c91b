"""Leads served over a real channel, its worker on a real Temporal, and scripted services around it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from crm.leads.v1 import leads_pb2 as pb
from crm.leads.v1.leads_pb2_grpc import LeadsServiceStub

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AppError, Unavailable
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller as Claims
from services.chassis.tokens import Signer
from services.leads.__main__ import SERVICE
from services.leads.store.tables import Base
from tests.integration.leads.scripted import World, Worlds, scripted_services
from tests.support.callers import Caller
from tests.support.served import served
from tests.support.until import until

RIGHTS = frozenset(
    {
        "leads.create",
        "leads.view",
        "leads.follow",
        "leads.claim",
        "leads.convert",
        "opportunities.close",
        "leads.capture",
    }
)


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    """What the scripted services know."""
    return Worlds()


@pytest.fixture(scope="module")
def around(settings: Settings, worlds: Worlds) -> Iterator[Settings]:
    """Settings that know the scripted services."""
    with scripted_services(settings, worlds) as addresses:
        yield replace(settings, addresses={**settings.addresses, **addresses})


@pytest.fixture(scope="module")
def stub(around: Settings) -> Iterator[LeadsServiceStub]:
    """Leads, served."""
    with served(SERVICE, around) as address, grpc.insecure_channel(address) as channel:
        yield LeadsServiceStub(channel)


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    """Leads' store."""
    store = Store(settings.database_urls, Base.metadata, utc_now)
    yield store
    store.close()


@dataclass
class Team:
    """A tenant's people in front of leads."""

    tenant: Tenant
    world: World
    stub: LeadsServiceStub
    signer: Signer

    def person(
        self,
        *rights: str,
        scope: str = "self",
        department_path: str = "1/",
        name: str = "李雷",
        person_id: str = "",
    ) -> "Member":
        """Add somebody; without rights: a rep with all of a rep's."""
        claims = Claims(
            tenant=self.tenant,
            person_id=person_id or new_id(),
            name=name,
            rights=frozenset(rights) or RIGHTS,
            scope=scope,
            department_path=department_path,
        )
        self.world.add_person(claims.person_id, name, *claims.rights, department_path=department_path)
        return Member(
            claims.person_id, self.stub, Caller(lambda: self.signer.person_token(claims, utc_now())[0])
        )


@dataclass
class Member:
    """Somebody who works with leads."""

    person_id: str
    stub: LeadsServiceStub
    call: Caller

    def lead(self, name: str = "韩梅梅", **given: str) -> pb.Lead:
        """Create an own lead."""
        request = pb.CreateLeadRequest(request_id=new_id(), name=name, **given)  # type: ignore[arg-type]  # texts only
        answer: pb.CreateLeadResponse = self.call(self.stub.CreateLead, request)
        return answer.lead

    def get(self, lead_id: str) -> pb.GetLeadResponse:
        """Return a lead with its log."""
        answer: pb.GetLeadResponse = self.call(self.stub.GetLead, pb.GetLeadRequest(lead_id=lead_id))
        return answer

    def follow(self, lead_id: str, text: str = "已电话联系") -> pb.Lead:
        """Record a follow-up."""
        request = pb.AddLeadFollowUpRequest(request_id=new_id(), lead_id=lead_id, text=text)
        answer: pb.AddLeadFollowUpResponse = self.call(self.stub.AddLeadFollowUp, request)
        return answer.lead

    def outcome(self, request: pb.ConvertLeadRequest) -> pb.ConvertLeadResponse | AppError:
        """Convert a lead, again and again while the answer is not there yet, as a client does."""

        def answer() -> pb.ConvertLeadResponse | AppError | None:
            try:
                converted: pb.ConvertLeadResponse = self.call(self.stub.ConvertLead, request)
            except Unavailable:
                return None
            except AppError as refused:
                return refused
            return converted

        found = until(answer, timeout_s=200)
        assert found is not None
        return found

    def convert(self, request: pb.ConvertLeadRequest) -> pb.ConvertLeadResponse:
        """Convert a lead; raises the AppError of a refusal."""
        outcome = self.outcome(request)
        if isinstance(outcome, AppError):
            raise outcome
        return outcome

    def refusal(self, request: pb.ConvertLeadRequest) -> AppError:
        """Return the error of a conversion that must be refused."""
        outcome = self.outcome(request)
        assert isinstance(outcome, AppError)
        return outcome

    def opportunities(self, customer_id: str = "") -> list[pb.Opportunity]:
        """Return the opportunities that this person sees."""
        request = pb.ListOpportunitiesRequest(customer_id=customer_id)
        answer: pb.ListOpportunitiesResponse = self.call(self.stub.ListOpportunities, request)
        return list(answer.opportunities)


@pytest.fixture
def team(main_tenant: Tenant, worlds: Worlds, stub: LeadsServiceStub, signer: Signer) -> Team:
    """A tenant nobody used before."""
    return Team(main_tenant, worlds.by_tenant[main_tenant.id], stub, signer)


@pytest.fixture
def events(store: Store) -> "Events":
    """What leads tells others, as its outbox holds it."""
    return Events(store)


@dataclass
class Events:
    """The outbox of a store that no relay empties."""

    store: Store

    def of(self, tenant: Tenant, event_type: str) -> list[Mapping[str, Any]]:
        """Return a tenant's events of a type in order."""
        outbox = self.store.tables["outbox"]
        with self.store.across(tenant.database) as session:
            rows = session.execute(
                outbox.select()
                .where(outbox.c.tenant_id == tenant.id, outbox.c.kind == "event")
                .order_by(outbox.c.id)
            )
            return [row.body for row in rows if row.body["type"] == event_type]
