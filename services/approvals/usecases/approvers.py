"""Find out who decides a step. No transaction is open meanwhile: it asks identity."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from services.approvals.domain.flows import DECIDE_RIGHT, STAND_IN_ROLE
from services.chassis.errors import Unavailable
from services.chassis.tenancy import Tenant


class Directory(Protocol):
    """What is asked of identity, on behalf of the submitter."""

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        """Return the active holders of a role over a person, never the person itself; nobody for an unknown role."""

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        """Return whether a person is active and has a right."""


@dataclass(frozen=True)
class StepToAsk:
    """A step that will need approvers: holders of roles, or people, or else the approver whom the submitter chose.

    escalate_role: whose holders are asked too, "" for nobody's.
    """

    index: int
    roles: tuple[str, ...]
    chosen_approver_id: str
    person_ids: tuple[str, ...] = ()
    escalate_role: str = ""


@dataclass(frozen=True)
class Approvers:
    """Who may decide a step. standing_in: nobody fits the step, administrators do it instead."""

    person_ids: tuple[str, ...]
    standing_in: bool


def find_approvers(directory: Directory, tenant: Tenant, submitter_id: str, step: StepToAsk) -> Approvers:
    """Return who decides a step: never the submitter, and nobody who may not decide.

    Raises Unavailable NO_APPROVER while not even an administrator can: it is asked again later.
    """

    def holders(roles: Iterable[str]) -> list[str]:
        return [person for role in roles for person in directory.role_holders(tenant, submitter_id, role)]

    asked = holders(step.roles) if step.roles else [*step.person_ids] or [step.chosen_approver_id]
    if step.escalate_role:
        asked += holders([step.escalate_role])
    fitting = [
        person
        for person in dict.fromkeys(asked)
        if person and person != submitter_id and directory.may(tenant, submitter_id, person, DECIDE_RIGHT)
    ]
    if fitting:
        return Approvers(tuple(fitting), standing_in=False)
    stand_ins = directory.role_holders(tenant, submitter_id, STAND_IN_ROLE)
    if not stand_ins:
        raise Unavailable("NO_APPROVER", "没有可用的审批人", "Nobody can decide this step")
    return Approvers(tuple(stand_ins), standing_in=True)
