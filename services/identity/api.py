"""IdentityService: proto to use case and back."""

from datetime import datetime

from crm.identity.v1 import identity_pb2 as pb
from crm.identity.v1 import identity_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import ServicerContext

from services.chassis.db import Store, Transaction
from services.chassis.errors import not_found
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import new_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.settings import HOME_DATABASE
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Signer
from services.identity import metrics
from services.identity.domain.people import (
    LONGEST_PASSWORD,
    check_password,
    invalid_credentials,
    session_ended,
)
from services.identity.domain.rights import Grant, Scope
from services.identity.store import queries
from services.identity.store.queries import Member
from services.identity.usecases import credentials, people, sessions
from services.kernel.phones import mask_number

SCOPES = {
    Scope.SELF: pb.DATA_SCOPE_SELF,
    Scope.DEPARTMENT: pb.DATA_SCOPE_DEPARTMENT,
    Scope.ALL: pb.DATA_SCOPE_ALL,
}


class IdentityApi(pb_grpc.IdentityServiceServicer, Api):
    """The servicer. signer: identity's key, with which it speaks for persons."""

    def __init__(self, store: Store, signer: Signer) -> None:
        Api.__init__(self, store)
        self._signer = signer

    def SignIn(self, request: pb.SignInRequest, context: ServicerContext) -> pb.SignInResponse:
        """Open a session; raises Unauthenticated INVALID_CREDENTIALS, the same for whatever was wrong."""
        login = request.login.strip().lower()
        with self.store.across(HOME_DATABASE) as home:
            found = queries.tenant_by_slug(home, request.tenant.strip().lower())
        tenant = Tenant(found.id, found.database) if found else None
        person = None
        if tenant:
            with self.store.transaction(tenant) as tx:
                person = queries.person_by_login(tx, login)
        # Outside any transaction, and also for nobody: the time it takes tells nothing.
        matches = credentials.password_matches(
            request.password[: LONGEST_PASSWORD + 1], person.password_hash if person else None
        )
        member = None
        if tenant and person:
            secret = credentials.new_secret(tenant.database)
            with self.store.transaction(tenant, person.id) as tx:
                member = sessions.open_session(tx, person.id, secret, password_right=matches)
                expire_time = sessions.session_expire_time(tx.now)
        metrics.SIGN_INS.labels("opened" if member else "refused").inc()
        if member is None:
            raise invalid_credentials()
        return pb.SignInResponse(
            session_token=secret, expire_time=_timestamp(expire_time), person=_person(member, clear=True)
        )

    def ExchangeSession(
        self, request: pb.ExchangeSessionRequest, context: ServicerContext
    ) -> pb.ExchangeSessionResponse:
        """Return a signed token for a session or key; raises Unauthenticated SESSION_ENDED."""
        database = credentials.database_of(request.session_token)
        if database not in self.store.urls:
            raise session_ended()
        with self.store.across(database) as session:
            found = queries.session_by_secret(session, credentials.secret_hash(request.session_token))
        if found is None:
            raise session_ended()
        with self.store.transaction(Tenant(found.tenant_id, database)) as tx:
            caller = sessions.recognise(tx, found)
        token, expire_time = self._signer.person_token(caller, tx.now)
        return pb.ExchangeSessionResponse(
            access_token=token,
            expire_time=_timestamp(expire_time),
            person_id=caller.person_id,
            tenant_id=found.tenant_id,
        )

    def SignOut(self, request: pb.SignOutRequest, context: ServicerContext) -> pb.SignOutResponse:
        """End a session; one that has ended already is fine, a key is left alone."""
        database = credentials.database_of(request.session_token)
        if database in self.store.urls:
            with self.store.across(database) as session:
                found = queries.session_by_secret(session, credentials.secret_hash(request.session_token))
                if found and found.kind == "session":
                    session.delete(found)
        return pb.SignOutResponse()

    def GetMe(self, request: pb.GetMeRequest, context: ServicerContext) -> pb.GetMeResponse:
        """Return the caller with the own mobile in the clear."""
        with self.store.across(HOME_DATABASE) as home:
            tenant_name = queries.tenant_name(home, current_tenant().id)
        return self.read(
            lambda tx: pb.GetMeResponse(
                person=_person(queries.member(tx, current_caller().person_id), clear=True),
                tenant_name=tenant_name,
            )
        )

    def ListColleagues(
        self, request: pb.ListColleaguesRequest, context: ServicerContext
    ) -> pb.ListColleaguesResponse:
        """Return everybody's name, of those who left too: their records stay."""
        return self.read(
            lambda tx: pb.ListColleaguesResponse(
                colleagues=[
                    pb.Colleague(person_id=person_id, name=name, department_name=department)
                    for person_id, name, department in queries.colleagues(tx)
                ]
            )
        )

    def ListPeople(self, request: pb.ListPeopleRequest, context: ServicerContext) -> pb.ListPeopleResponse:
        """Return the people within the caller's scope, by login."""
        size = page_size(request.page_size)
        cursor = decode_cursor(request.page_token)

        def work(tx: Transaction) -> pb.ListPeopleResponse:
            found = queries.members_by_login(tx, current_caller(), cursor[1] if cursor else "", size + 1)
            page, more = cut_page(found, size)
            return pb.ListPeopleResponse(
                people=[_person(member, clear=_may_see_mobiles()) for member in page],
                next_page_token=encode_cursor(page[-1].person.create_time, page[-1].person.login)
                if more
                else "",
            )

        return self.read(work)

    def GetPerson(self, request: pb.GetPersonRequest, context: ServicerContext) -> pb.GetPersonResponse:
        """Return a person within the caller's scope; raises NotFound."""
        person_id = parse_id(request.person_id, "person_id")

        def work(tx: Transaction) -> pb.GetPersonResponse:
            member = queries.member(tx, person_id)
            if not _sees(member):
                raise not_found("person", "人员", person_id)
            return pb.GetPersonResponse(
                person=_person(member, clear=_may_see_mobiles()), department_path=member.department.path
            )

        return self.read(work)

    def CreatePerson(
        self, request: pb.CreatePersonRequest, context: ServicerContext
    ) -> pb.CreatePersonResponse:
        """Add a person; see `create_person` for what is refused, and PASSWORD_LENGTH."""
        check_password(request.password, "password")
        password_hash = credentials.hash_password(request.password)
        # The request's digest is kept for replays: the password must not be guessable from it.
        kept = pb.CreatePersonRequest(request_id=request.request_id, person=request.person)
        return self.write(
            kept,
            pb.CreatePersonResponse,
            lambda tx: pb.CreatePersonResponse(
                person=_person(
                    people.create_person(tx, _own_grant(), new_id(), _input(request.person), password_hash),
                    clear=True,
                )
            ),
        )

    def UpdatePerson(
        self, request: pb.UpdatePersonRequest, context: ServicerContext
    ) -> pb.UpdatePersonResponse:
        """Change a person; see `update_person` for what is refused."""
        return self.write(
            request,
            pb.UpdatePersonResponse,
            lambda tx: pb.UpdatePersonResponse(
                person=_person(
                    people.update_person(
                        tx, _own_grant(), _input(request.person), list(request.update_mask.paths)
                    ),
                    clear=True,
                )
            ),
        )

    def ListRoles(self, request: pb.ListRolesRequest, context: ServicerContext) -> pb.ListRolesResponse:
        """Return the tenant's roles, by code."""
        return self.read(
            lambda tx: pb.ListRolesResponse(
                roles=[
                    pb.Role(
                        code=role.code, name=role.name, rights=sorted(role.rights), scope=SCOPES[role.scope]
                    )
                    for role in queries.roles(tx)
                ]
            )
        )

    def ListDepartments(
        self, request: pb.ListDepartmentsRequest, context: ServicerContext
    ) -> pb.ListDepartmentsResponse:
        """Return the tenant's departments, parents before children."""
        return self.read(
            lambda tx: pb.ListDepartmentsResponse(
                departments=[
                    pb.Department(
                        department_id=item.id,
                        parent_id=item.parent_id or "",
                        name=item.name,
                        path=item.path,
                    )
                    for item in queries.departments(tx)
                ]
            )
        )

    def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: ServicerContext
    ) -> pb.CreateApiKeyResponse:
        """Make a key and show its secret this once; see `create_api_key` for what is refused."""
        secret = credentials.new_secret(current_tenant().database)
        made = False

        def work(tx: Transaction) -> pb.CreateApiKeyResponse:
            nonlocal made
            sessions.create_api_key(tx, current_caller(), request.name, list(request.rights), secret)
            made = True
            # Answers are kept for replays, so the secret goes into none of them.
            return pb.CreateApiKeyResponse()

        self.write(request, pb.CreateApiKeyResponse, work)
        return pb.CreateApiKeyResponse(secret=secret if made else "")

    def FindRoleHolders(
        self, request: pb.FindRoleHoldersRequest, context: ServicerContext
    ) -> pb.FindRoleHoldersResponse:
        """Return who holds a role over a person; raises NotFound for an unknown person."""
        person_id = parse_id(request.person_id, "person_id")

        def work(tx: Transaction) -> pb.FindRoleHoldersResponse:
            queries.member(tx, person_id)
            return pb.FindRoleHoldersResponse(person_ids=queries.role_holders(tx, person_id, request.role))

        return self.read(work)

    def ResolveMobile(
        self, request: pb.ResolveMobileRequest, context: ServicerContext
    ) -> pb.ResolveMobileResponse:
        """Return a person's mobile in the clear; audited; raises NotFound."""
        service = current_caller().service
        return self.read(
            lambda tx: pb.ResolveMobileResponse(mobile=people.resolve_mobile(tx, request.person_id, service))
        )


def _own_grant() -> Grant:
    caller = current_caller()
    return Grant(caller.rights, Scope(caller.scope))


def _may_see_mobiles() -> bool:
    return "people.manage" in current_caller().rights


def _sees(member: Member) -> bool:
    caller = current_caller()
    if caller.service or caller.scope == Scope.ALL or member.person.id == caller.person_id:
        return True
    return caller.scope == Scope.DEPARTMENT and member.department.path.startswith(caller.department_path)


def _person(member: Member, *, clear: bool) -> pb.Person:
    person = member.person
    return pb.Person(
        person_id=person.id,
        login=person.login,
        name=person.name,
        mobile=person.mobile if clear else mask_number(person.mobile),
        extension=person.extension,
        department_id=person.department_id,
        roles=member.roles,
        active=person.active,
        rights=sorted(member.grant.rights),
        scope=SCOPES[member.grant.scope],
        version=person.version,
    )


def _input(person: pb.Person) -> people.PersonInput:
    return people.PersonInput(
        person_id=person.person_id,
        login=person.login,
        name=person.name,
        mobile=person.mobile,
        extension=person.extension,
        department_id=person.department_id,
        roles=tuple(person.roles),
        active=person.active,
        version=person.version,
    )


def _timestamp(time: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time)
    return result
