"""IdentityService: proto to use case and back."""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from crm.identity.v1 import identity_pb2 as pb
from crm.identity.v1 import identity_pb2_grpc as pb_grpc
from grpc import ServicerContext

from services.chassis.db import Store, Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import new_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.settings import HOME_DATABASE
from services.chassis.tenancy import Tenant
from services.chassis.timestamps import timestamp
from services.chassis.tokens import PERSON_TOKEN_S, Signer
from services.identity import metrics
from services.identity.domain.people import (
    LONGEST_PASSWORD,
    check_password,
    invalid_credentials,
    session_ended,
)
from services.identity.domain.rights import PRESET_CODES, Grant, Role, Scope, catalogue
from services.identity.store import queries
from services.identity.store.queries import Member
from services.identity.store.tables import Audit, Department
from services.identity.usecases import credentials, departments, people, roles, sessions
from services.kernel.phones import number_for, texts_for
from services.kernel.visibility import covers

SCOPES = {
    Scope.SELF: pb.DATA_SCOPE_SELF,
    Scope.DEPARTMENT: pb.DATA_SCOPE_DEPARTMENT,
    Scope.ALL: pb.DATA_SCOPE_ALL,
    Scope.SUBORDINATES: pb.DATA_SCOPE_SUBORDINATES,
    Scope.DEPARTMENT_ONLY: pb.DATA_SCOPE_DEPARTMENT_ONLY,
    Scope.REGIONS: pb.DATA_SCOPE_REGIONS,
}
# How long a raised epoch is told: longer than a token lives, by the longest transaction that raised one.
EPOCHS_TOLD = timedelta(seconds=PERSON_TOKEN_S + 30)
# How long one look for raised epochs serves all who ask, in seconds: with their own second, and the change itself, it
# must stay below two.
SHARED_S: Final = 0.3


# Sessions that are looked at in one call.
MOST_CHECKED = 1000
# People whose names are told at once.
MOST_NAMES = 2000


class IdentityApi(pb_grpc.IdentityServiceServicer, Api):
    """The servicer. signer: identity's key, with which it speaks for persons."""

    def __init__(self, store: Store, signer: Signer) -> None:
        Api.__init__(self, store)
        self._signer = signer
        # What was told last, and when its look began.
        self._looking = threading.Lock()
        self._epochs, self._looked = pb.ListEpochsResponse(), -math.inf

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
            session_token=secret, expire_time=timestamp(expire_time), person=_person(member, clear=True)
        )

    def ExchangeSession(
        self, request: pb.ExchangeSessionRequest, context: ServicerContext
    ) -> pb.ExchangeSessionResponse:
        """Return a signed token for a session or key; raises Unauthenticated SESSION_ENDED."""
        tenant = self._tenant_of_session(request.session_token)
        if tenant is None:
            raise session_ended()
        with self.store.transaction(tenant) as tx:
            caller = sessions.recognise(tx, request.session_token)
        token, expire_time = self._signer.person_token(caller, tx.now)
        return pb.ExchangeSessionResponse(
            access_token=token,
            expire_time=timestamp(expire_time),
            person_id=caller.person_id,
            tenant_id=tenant.id,
        )

    def _tenant_of_session(self, secret: str) -> Tenant | None:
        """Return whose session or key it is; it may have moved from the database that the secret names."""
        named = credentials.database_of(secret)
        for database in self.store.databases_from(named) if named in self.store.urls else ():
            with self.store.across(database) as session:
                tenant_id = queries.tenant_of_session(session, credentials.secret_hash(secret))
            if tenant_id:
                return Tenant(tenant_id, database)
        return None

    def CheckSessions(
        self, request: pb.CheckSessionsRequest, context: ServicerContext
    ) -> pb.CheckSessionsResponse:
        """Return those sessions and keys that are over, by one look into each database; raises TOO_MANY_SESSIONS."""
        secrets = request.session_tokens
        if len(secrets) > MOST_CHECKED:
            raise InvalidInput(
                "session_tokens",
                "TOO_MANY_SESSIONS",
                f"一次最多检查 {MOST_CHECKED} 个会话",
                f"At most {MOST_CHECKED} sessions are checked at once",
                most=MOST_CHECKED,
            )
        over: set[str] = set()
        named: defaultdict[str, dict[bytes, str]] = defaultdict(dict)
        for secret in secrets:
            named[credentials.database_of(secret)][credentials.secret_hash(secret)] = secret
        for first, given in named.items():
            left = given
            for database in self.store.databases_from(first) if first in self.store.urls else ():
                with self.store.across(database) as session:
                    living = queries.living_sessions(session, left.keys(), self.store.clock())
                left = {key: secret for key, secret in left.items() if key not in living}
                if not left:
                    break
            over.update(left.values())
        return pb.CheckSessionsResponse(ended_tokens=[secret for secret in secrets if secret in over])

    def SignOut(self, request: pb.SignOutRequest, context: ServicerContext) -> pb.SignOutResponse:
        """End a session; one that has ended already is fine, a key is left alone."""
        tenant = self._tenant_of_session(request.session_token)
        if tenant:
            with self.store.transaction(tenant) as tx:
                sessions.close_session(tx, request.session_token)
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

        department_id = parse_id(request.department_id, "department_id") if request.department_id else ""

        def work(tx: Transaction) -> pb.ListPeopleResponse:
            below = queries.department_paths(tx, [department_id]).get(department_id) if department_id else ""
            if below is None:
                raise not_found("department", "部门", department_id)
            found = queries.members_by_login(
                tx,
                current_caller(),
                parse_id(cursor[1], "page_token") if cursor else None,
                size + 1,
                below=below,
                query=request.query.strip(),
                numbers_shown=_may_see_mobiles(),
            )
            page, more = cut_page(found, size)
            return pb.ListPeopleResponse(
                people=[_person(member, clear=_may_see_mobiles()) for member in page],
                next_page_token=encode_cursor(page[-1].person.create_time, page[-1].person.id)
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

    def ListPersonNames(
        self, request: pb.ListPersonNamesRequest, context: ServicerContext
    ) -> pb.ListPersonNamesResponse:
        """Return the names of people."""
        if len(request.person_ids) > MOST_NAMES:
            raise InvalidInput(
                "person_ids",
                "TOO_MANY",
                "{field} 最多{most}项",
                "{field} has at most {most} items",
                most=MOST_NAMES,
            )
        ids = [parse_id(value, f"person_ids[{place}]") for place, value in enumerate(request.person_ids)]
        return self.read(lambda tx: pb.ListPersonNamesResponse(names=queries.names(tx, ids)))

    def CreatePerson(
        self, request: pb.CreatePersonRequest, context: ServicerContext
    ) -> pb.CreatePersonResponse:
        """Add a person; see `create_person` for what is refused, and PASSWORD_LENGTH."""
        check_password(request.password, "password", login=request.person.login.strip())
        password_hash = credentials.hash_password(request.password)
        # The request's digest is kept for replays: the password must not be guessable from it.
        kept = pb.CreatePersonRequest(request_id=request.request_id, person=request.person)

        def work(tx: Transaction) -> pb.CreatePersonResponse:
            given = _input(request.person)
            _check_reach(tx, [given.department_id, *given.region_department_ids])
            made = people.create_person(tx, _own_grant(), new_id(), given, password_hash)
            return pb.CreatePersonResponse(person=_person(made, clear=True))

        return self.write(
            kept,
            pb.CreatePersonResponse,
            work,
        )

    def UpdatePerson(
        self, request: pb.UpdatePersonRequest, context: ServicerContext
    ) -> pb.UpdatePersonResponse:
        """Change a person within the caller's scope; see `update_person` for what is refused."""
        fields = list(request.update_mask.paths)

        def work(tx: Transaction) -> pb.UpdatePersonResponse:
            given = _input(request.person)
            _seen(tx, given.person_id, "person.person_id")
            _check_reach(
                tx,
                [
                    *([given.department_id] if "department_id" in fields else []),
                    *(given.region_department_ids if "region_department_ids" in fields else []),
                ],
            )
            changed = people.update_person(tx, _own_grant(), given, fields)
            return pb.UpdatePersonResponse(person=_person(changed, clear=True))

        return self.write(request, pb.UpdatePersonResponse, work)

    def RetirePerson(
        self, request: pb.RetirePersonRequest, context: ServicerContext
    ) -> pb.RetirePersonResponse:
        """Note that a person left; see `retire_person` for what is refused."""

        def work(tx: Transaction) -> pb.RetirePersonResponse:
            person_id = _seen(tx, request.person_id)
            return pb.RetirePersonResponse(
                person=_person(people.retire_person(tx, _own_grant(), person_id), clear=True)
            )

        return self.write(request, pb.RetirePersonResponse, work)

    def ResetPassword(
        self, request: pb.ResetPasswordRequest, context: ServicerContext
    ) -> pb.ResetPasswordResponse:
        """Give a person another password; see `reset_password` for what is refused, and PASSWORD_*."""
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            login = queries.member(tx, _seen(tx, request.person_id)).person.login
        check_password(request.password, "password", login=login)
        password_hash = credentials.hash_password(request.password)

        def work(tx: Transaction) -> pb.ResetPasswordResponse:
            people.reset_password(tx, _own_grant(), request.person_id, password_hash)
            return pb.ResetPasswordResponse()

        kept = pb.ResetPasswordRequest(request_id=request.request_id, person_id=request.person_id)
        return self.write(kept, pb.ResetPasswordResponse, work)

    def EndSessions(self, request: pb.EndSessionsRequest, context: ServicerContext) -> pb.EndSessionsResponse:
        """Sign a person out everywhere; see `sign_out_everywhere` for what is refused."""

        def work(tx: Transaction) -> pb.EndSessionsResponse:
            people.sign_out_everywhere(tx, _own_grant(), _seen(tx, request.person_id))
            return pb.EndSessionsResponse()

        return self.write(request, pb.EndSessionsResponse, work)

    def UpdateMe(self, request: pb.UpdateMeRequest, context: ServicerContext) -> pb.UpdateMeResponse:
        """Change the own name or mobile; see `update_me` for what is refused."""
        return self.write(
            request,
            pb.UpdateMeResponse,
            lambda tx: pb.UpdateMeResponse(
                person=_person(
                    people.update_me(tx, request.name, request.mobile, list(request.update_mask.paths)),
                    clear=True,
                )
            ),
        )

    def ChangePassword(
        self, request: pb.ChangePasswordRequest, context: ServicerContext
    ) -> pb.ChangePasswordResponse:
        """Change the own password; raises InvalidInput PASSWORD_WRONG, PASSWORD_SAME or another PASSWORD_*.

        A wrong old password counts as a failed sign-in.
        """
        tenant, person_id = current_tenant(), current_caller().person_id
        with self.store.transaction(tenant, person_id) as tx:
            me = queries.member(tx, person_id).person
        check_password(request.new_password, "new_password", login=me.login)
        if request.new_password == request.old_password:
            raise InvalidInput(
                "new_password", "PASSWORD_SAME", "新密码不能与原密码相同", "The new password is the old one"
            )
        # Outside any transaction: hashing takes its time on purpose.
        matches = credentials.password_matches(request.old_password[: LONGEST_PASSWORD + 1], me.password_hash)
        password_hash = credentials.hash_password(request.new_password) if matches else ""
        with self.store.transaction(tenant, person_id) as tx:
            changed = people.change_password(tx, password_hash, old_matches=matches)
        if not changed:
            raise InvalidInput("old_password", "PASSWORD_WRONG", "原密码不正确", "The old password is wrong")
        return pb.ChangePasswordResponse()

    def ListRightModules(
        self, request: pb.ListRightModulesRequest, context: ServicerContext
    ) -> pb.ListRightModulesResponse:
        """Return every right by module, entries first."""
        levels = {True: pb.RIGHT_LEVEL_ENTRY, False: pb.RIGHT_LEVEL_OPERATION}
        return pb.ListRightModulesResponse(
            modules=[
                pb.RightModule(
                    module=module.module,
                    name_zh=module.zh,
                    name_en=module.en,
                    rights=[
                        pb.Right(
                            right=right.right,
                            level=levels[right.is_entry],
                            name_zh=right.zh,
                            name_en=right.en,
                        )
                        for right in module.rights
                    ],
                )
                for module in catalogue()
            ]
        )

    def ListRoles(self, request: pb.ListRolesRequest, context: ServicerContext) -> pb.ListRolesResponse:
        """Return the tenant's roles, by code."""

        def work(tx: Transaction) -> pb.ListRolesResponse:
            holders = queries.holder_counts(tx)
            return pb.ListRolesResponse(
                roles=[_role(role, holders.get(role.code, 0)) for role in queries.roles(tx)]
            )

        return self.read(work)

    def CreateRole(self, request: pb.CreateRoleRequest, context: ServicerContext) -> pb.CreateRoleResponse:
        """Add a role; see `create_role` for what is refused."""
        given = _role_input(request.role)
        return self.write(
            request,
            pb.CreateRoleResponse,
            lambda tx: pb.CreateRoleResponse(
                role=_stored_role(tx, roles.create_role(tx, _own_grant(), given))
            ),
        )

    def UpdateRole(self, request: pb.UpdateRoleRequest, context: ServicerContext) -> pb.UpdateRoleResponse:
        """Change a role; see `update_role` for what is refused."""
        fields = list(request.update_mask.paths)
        given = _role_input(request.role, needs_scope="scope" in fields)
        return self.write(
            request,
            pb.UpdateRoleResponse,
            lambda tx: pb.UpdateRoleResponse(
                role=_stored_role(tx, roles.update_role(tx, _own_grant(), given, fields))
            ),
        )

    def DeleteRole(self, request: pb.DeleteRoleRequest, context: ServicerContext) -> pb.DeleteRoleResponse:
        """Remove a role; see `delete_role` for what is refused."""

        def work(tx: Transaction) -> pb.DeleteRoleResponse:
            roles.delete_role(tx, _own_grant(), request.code)
            return pb.DeleteRoleResponse()

        return self.write(request, pb.DeleteRoleResponse, work)

    def ListDepartments(
        self, request: pb.ListDepartmentsRequest, context: ServicerContext
    ) -> pb.ListDepartmentsResponse:
        """Return the tenant's departments, parents before children, siblings in their order."""

        def work(tx: Transaction) -> pb.ListDepartmentsResponse:
            inside = queries.person_counts(tx)
            return pb.ListDepartmentsResponse(
                departments=[_department(item, inside.get(item.id, 0)) for item in queries.departments(tx)]
            )

        return self.read(work)

    def CreateDepartment(
        self, request: pb.CreateDepartmentRequest, context: ServicerContext
    ) -> pb.CreateDepartmentResponse:
        """Add a department; see `create_department` for what is refused."""
        return self.write(
            request,
            pb.CreateDepartmentResponse,
            lambda tx: pb.CreateDepartmentResponse(
                department=_department(
                    departments.create_department(
                        tx, current_caller(), _department_input(request.department)
                    ),
                    0,
                )
            ),
        )

    def UpdateDepartment(
        self, request: pb.UpdateDepartmentRequest, context: ServicerContext
    ) -> pb.UpdateDepartmentResponse:
        """Change or move a department; see `update_department` for what is refused."""

        def work(tx: Transaction) -> pb.UpdateDepartmentResponse:
            changed = departments.update_department(
                tx,
                current_caller(),
                _department_input(request.department),
                list(request.update_mask.paths),
            )
            inside = queries.person_counts(tx).get(changed.id, 0)
            return pb.UpdateDepartmentResponse(department=_department(changed, inside))

        return self.write(request, pb.UpdateDepartmentResponse, work)

    def DeleteDepartment(
        self, request: pb.DeleteDepartmentRequest, context: ServicerContext
    ) -> pb.DeleteDepartmentResponse:
        """Remove an empty department; see `delete_department` for what is refused."""

        def work(tx: Transaction) -> pb.DeleteDepartmentResponse:
            departments.delete_department(tx, current_caller(), request.department_id)
            return pb.DeleteDepartmentResponse()

        return self.write(request, pb.DeleteDepartmentResponse, work)

    def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: ServicerContext
    ) -> pb.ListAuditEntriesResponse:
        """Return what must be accounted for, newest first."""
        size = page_size(request.page_size)
        before = decode_cursor(request.page_token)
        actor_id = parse_id(request.actor_id, "actor_id") if request.actor_id else ""
        subject_id = parse_id(request.subject_id, "subject_id") if request.subject_id else ""

        def work(tx: Transaction) -> pb.ListAuditEntriesResponse:
            found = queries.audit_entries(
                tx,
                action=request.action,
                actor_id=actor_id,
                subject_id=subject_id,
                before=before,
                limit=size + 1,
            )
            page, more = cut_page(found, size)
            return pb.ListAuditEntriesResponse(
                entries=[_audit_entry(row) for row in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def ListEpochs(self, request: pb.ListEpochsRequest, context: ServicerContext) -> pb.ListEpochsResponse:
        """Return the epochs that were raised during the life of a token, in every database.

        Every process asks each second: whoever asks shortly after another gets the same answer.
        """
        with self._looking:
            now = time.monotonic()
            if now - self._looked > SHARED_S:
                self._epochs, self._looked = self._look_for_epochs(), now
            return self._epochs

    def _look_for_epochs(self) -> pb.ListEpochsResponse:
        since = self.store.clock() - EPOCHS_TOLD
        epochs: dict[str, int] = {}
        for database in self.store.urls:
            with self.store.across(database) as session:
                for person_id, epoch in queries.epochs_since(session, since):
                    # The person of a tenant that moves is in two of them; the lower one is of before.
                    epochs[person_id] = max(epoch, epochs.get(person_id, 0))
        return pb.ListEpochsResponse(
            epochs=[pb.Epoch(person_id=person_id, epoch=epoch) for person_id, epoch in epochs.items()]
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

    def ListApiKeys(self, request: pb.ListApiKeysRequest, context: ServicerContext) -> pb.ListApiKeysResponse:
        """Return every key, the newest first."""
        return self.read(
            lambda tx: pb.ListApiKeysResponse(
                api_keys=[
                    pb.ApiKey(
                        api_key_id=key.id,
                        name=key.name,
                        rights=key.rights,
                        maker_id=key.person_id,
                        create_time=timestamp(key.create_time),
                    )
                    for key in queries.api_keys(tx)
                ]
            )
        )

    def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, context: ServicerContext
    ) -> pb.RevokeApiKeyResponse:
        """End a key; raises NotFound."""
        key_id = parse_id(request.api_key_id, "api_key_id")

        def work(tx: Transaction) -> pb.RevokeApiKeyResponse:
            sessions.revoke_api_key(tx, key_id)
            return pb.RevokeApiKeyResponse()

        return self.write(request, pb.RevokeApiKeyResponse, work)

    def FindRoleHolders(
        self, request: pb.FindRoleHoldersRequest, context: ServicerContext
    ) -> pb.FindRoleHoldersResponse:
        """Return who holds a role over a person; raises NotFound for an unknown person."""
        person_id = parse_id(request.person_id, "person_id")

        def work(tx: Transaction) -> pb.FindRoleHoldersResponse:
            queries.member(tx, person_id)
            return pb.FindRoleHoldersResponse(person_ids=queries.role_holders(tx, person_id, request.role))

        return self.read(work)

    def FindHeads(self, request: pb.FindHeadsRequest, context: ServicerContext) -> pb.FindHeadsResponse:
        """Return the heads over a person; raises NotFound for an unknown person or department."""
        person_id = parse_id(request.person_id, "person_id")
        department_id = parse_id(request.department_id, "department_id") if request.department_id else ""

        def work(tx: Transaction) -> pb.FindHeadsResponse:
            department = queries.member(tx, person_id).department
            if department_id:
                named = queries.department(tx, department_id)
                if named is None:
                    raise not_found("department", "部门", department_id)
                department = named
            return pb.FindHeadsResponse(person_ids=queries.heads_over(tx, person_id, department.path))

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
    return bool(caller.service) or covers(caller, member.person.id, member.department.path)


def _seen(tx: Transaction, person_id: str, field: str = "person_id") -> str:
    """Return the id of a person within the caller's scope; raises NotFound."""
    parsed = parse_id(person_id, field)
    if not _sees(queries.member(tx, parsed)):
        raise not_found("person", "人员", parsed)
    return parsed


def _check_reach(tx: Transaction, department_ids: Iterable[str]) -> None:
    """Raise Forbidden OUT_OF_SCOPE for a department that the caller may not give people to."""
    wanted = [parse_id(each, "person.department_id") for each in department_ids]
    for path in queries.department_paths(tx, wanted).values():
        departments.check_reach(current_caller(), path)


def _person(member: Member, *, clear: bool) -> pb.Person:
    person = member.person
    message = pb.Person(
        person_id=person.id,
        login=person.login,
        name=person.name,
        mobile=number_for(person.mobile, may_see=clear),
        extension=person.extension,
        department_id=person.department_id,
        roles=member.roles,
        active=person.active,
        rights=sorted(member.grant.rights),
        scope=SCOPES[member.grant.scope],
        version=person.version,
        post=person.post,
        region_department_ids=person.region_ids,
        leave_time=timestamp(person.leave_time) if person.leave_time else None,
    )
    return texts_for(message, may_see=clear)


def _role(role: Role, holders: int) -> pb.Role:
    return pb.Role(
        code=role.code,
        name=role.name,
        rights=sorted(role.rights),
        scope=SCOPES[role.scope],
        preset=role.code in PRESET_CODES,
        version=role.version,
        holder_count=holders,
    )


def _stored_role(tx: Transaction, code: str) -> pb.Role:
    (role,) = queries.roles(tx, [code])
    return _role(role, queries.holder_counts(tx).get(code, 0))


def _role_input(role: pb.Role, *, needs_scope: bool = True) -> roles.RoleInput:
    scope = {number: scope for scope, number in SCOPES.items()}.get(role.scope)
    if scope is None and needs_scope:
        raise InvalidInput("role.scope", "SCOPE_MISSING", "请选择数据范围", "Choose a data scope")
    return roles.RoleInput(role.code, role.name, tuple(role.rights), scope or Scope.SELF, role.version)


def _department(item: Department, inside: int) -> pb.Department:
    return pb.Department(
        department_id=item.id,
        parent_id=item.parent_id or "",
        name=item.name,
        path=item.path,
        head_id=item.head_id or "",
        position=item.position,
        posts=item.posts,
        version=item.version,
        person_count=inside,
    )


def _department_input(department: pb.Department) -> departments.DepartmentInput:
    return departments.DepartmentInput(
        department_id=department.department_id,
        parent_id=department.parent_id,
        name=department.name,
        head_id=department.head_id,
        position=department.position,
        posts=tuple(department.posts),
        version=department.version,
    )


def _audit_entry(row: Audit) -> pb.AuditEntry:
    return pb.AuditEntry(
        entry_id=row.id,
        create_time=timestamp(row.create_time),
        action=row.action,
        actor_id=row.actor_id,
        service=row.service or "identity",
        subject_id=row.subject_id or "",
        details=[pb.AuditDetail(name=name, value=value) for name, value in sorted(row.details.items())],
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
        post=person.post,
        region_department_ids=tuple(person.region_department_ids),
    )
