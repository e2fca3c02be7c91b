"""The service that approvals calls: identity, for who may decide."""

from crm.identity.v1 import identity_pb2
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

from services.chassis.errors import NotFound
from services.chassis.grpc_client import Client
from services.chassis.service import Runtime
from services.chassis.tenancy import Tenant


class Identity:
    """People and their roles; a `Directory`."""

    def __init__(self, runtime: Runtime) -> None:
        self._client: Client[IdentityServiceStub] = runtime.client("identity", IdentityServiceStub)

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        """Return the active holders of a role over a person, never the person itself; nobody for an unknown role."""
        try:
            answer = self._client.call(
                self._client.stub.FindRoleHolders,
                identity_pb2.FindRoleHoldersRequest(person_id=person_id, role=role),
                tenant=tenant,
                actor_id=person_id,
            )
        except NotFound:
            return []
        return list(answer.person_ids)

    def heads(self, tenant: Tenant, person_id: str, department_id: str) -> list[str]:
        """Return the heads over a person, the nearest first; nobody for an unknown person or department."""
        try:
            answer = self._client.call(
                self._client.stub.FindHeads,
                identity_pb2.FindHeadsRequest(person_id=person_id, department_id=department_id),
                tenant=tenant,
                actor_id=person_id,
            )
        except NotFound:
            return []
        return list(answer.person_ids)

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        """Return whether a person is active and has a right; nobody has not."""
        try:
            answer = self._client.call(
                self._client.stub.GetPerson,
                identity_pb2.GetPersonRequest(person_id=person_id),
                tenant=tenant,
                actor_id=actor_id,
            )
        except NotFound:
            return False
        return answer.person.active and right in answer.person.rights
