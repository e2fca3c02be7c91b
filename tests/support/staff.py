"""A tenant with staff, made through identity's own command and API."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from crm.identity.v1 import identity_pb2 as pb
from crm.identity.v1 import identity_pb2_grpc as pb_grpc

from services.chassis.ids import new_id
from services.chassis.service import Runtime
from services.chassis.settings import HOME_DATABASE
from services.chassis.tenancy import Tenant
from services.identity import commands
from services.identity.store.queries import tenant_by_slug
from tests.support.callers import Caller, service_caller

ADMIN_PASSWORD = "correct horse battery"
PASSWORD = "long enough, once"


@dataclass
class Company:
    """A tenant and its people. stub: of identity. gateway: a caller that may open sessions."""

    slug: str
    stub: pb_grpc.IdentityServiceStub
    gateway: Caller
    runtime: Runtime
    keys: Mapping[str, tuple[str, str]]
    tenant: Tenant

    def sign_in(self, login: str, password: str = PASSWORD) -> pb.SignInResponse:
        """Open a session."""
        answer: pb.SignInResponse = self.gateway(
            self.stub.SignIn, pb.SignInRequest(tenant=self.slug, login=login, password=password)
        )
        return answer

    def exchange(self, secret: str) -> pb.ExchangeSessionResponse:
        """Turn a secret into a token."""
        answer: pb.ExchangeSessionResponse = self.gateway(
            self.stub.ExchangeSession, pb.ExchangeSessionRequest(session_token=secret)
        )
        return answer

    def ended(self, *secrets: str) -> list[str]:
        """Return those of these secrets whose session is over."""
        answer: pb.CheckSessionsResponse = self.gateway(
            self.stub.CheckSessions, pb.CheckSessionsRequest(session_tokens=secrets)
        )
        return list(answer.ended_tokens)

    def caller(self, login: str, password: str = PASSWORD, locale: str = "zh-CN") -> Caller:
        """Return somebody who is signed in."""
        secret = self.sign_in(login, password).session_token
        return Caller(lambda: self.exchange(secret).access_token, locale)

    @functools.cached_property
    def admin(self) -> Caller:
        """The first administrator."""
        return self.caller("admin", ADMIN_PASSWORD)

    def service(self, issuer: str, actor_id: str = "") -> Caller:
        """Return a service that calls into the tenant."""
        return service_caller(issuer, self.keys, self.tenant, actor_id)

    def add_department(self, name: str, parent: str = "") -> str:
        """Add a department by the command and return its id."""
        words = ["--tenant", self.slug, "--name", name, *(["--parent", parent] if parent else [])]
        assert commands.create_department(self.runtime, words) == 0
        return self.department(name)

    def department(self, name: str) -> str:
        """Return a department's id, the root's for ""."""
        listed = self.admin(self.stub.ListDepartments, pb.ListDepartmentsRequest()).departments
        return next(
            str(item.department_id)
            for item in listed
            if item.name == name or (not name and not item.parent_id)
        )

    def add(
        self, login: str, *roles: str, department: str = "", mobile: str = "", extension: str = ""
    ) -> str:
        """Add a person and return the id."""
        person = pb.Person(
            login=login,
            name=f"{login} 先生",
            roles=roles,
            department_id=self.department(department),
            mobile=mobile,
            extension=extension,
            active=True,
        )
        request = pb.CreatePersonRequest(request_id=new_id(), person=person, password=PASSWORD)
        answer: pb.CreatePersonResponse = self.admin(self.stub.CreatePerson, request)
        return answer.person.person_id


def new_company(
    runtime: Runtime, address: str, keys: Mapping[str, tuple[str, str]], database: str = "main"
) -> Company:
    """Create a tenant nobody used before, by the command, on a served identity."""
    slug = f"t-{new_id()[-12:]}"
    words = [
        "--slug",
        slug,
        "--name",
        "云海",
        "--database",
        database,
        "--admin",
        "admin",
        "--admin-name",
        "管理员",
    ]
    runtime.environ = {**runtime.environ, commands.PASSWORD_VARIABLE: ADMIN_PASSWORD}
    assert commands.create_tenant(runtime, words) == 0
    with runtime.store.across(HOME_DATABASE) as home:
        found = tenant_by_slug(home, slug)
    assert found
    return Company(
        slug,
        pb_grpc.IdentityServiceStub(grpc.insecure_channel(address)),
        service_caller("gateway", keys, None),
        runtime,
        keys,
        Tenant(found.id, database),
    )
