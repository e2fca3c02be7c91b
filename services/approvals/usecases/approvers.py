"""Find out who decides a step. No transaction is open meanwhile: it asks identity."""

from dataclasses import dataclass
from typing import Protocol

from services.approvals.domain.flows import DECIDE_RIGHT, STAND_IN_ROLE
from services.chassis.errors import Unavailable
from services.chassis.tenancy import Tenant


class Directory(Protocol):
    """What is asked of identity, on behalf of the submitter."""

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        """Return the active holders of a role over a person, never the person itself."""

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        """Return whether a person is active and has a right."""


@dataclass(frozen=True)
class StepToAsk:
    """A step that will need approvers. role: "" for the approver whom the submitter chose."""

    index: int
    role: str
    chosen_approver_id: str


@dataclass(frozen=True)
class Approvers:
    """Who may decide a step. standing_in: nobody fits the step, administrators do it instead."""

    person_ids: tuple[str, ...]
    standing_in: bool


def find_approvers(directory: Directory, tenant: Tenant, submitter_id: str, step: StepToAsk) -> Approvers:
    """Return who decides a step; never the submitter.

    Raises Unavailable NO_APPROVER while not even an administrator can: it is asked again later.
    """
    if step.role:
        found = directory.role_holders(tenant, submitter_id, step.role)
    else:
        chosen = step.chosen_approver_id
        fits = chosen and chosen != submitter_id and directory.may(tenant, submitter_id, chosen, DECIDE_RIGHT)
        found = [chosen] if fits else []
    if found:
        return Approvers(tuple(found), standing_in=False)
    stand_ins = directory.role_holders(tenant, submitter_id, STAND_IN_ROLE)
    if not stand_ins:
        raise Unavailable("NO_APPROVER", "没有可用的审批人", "Nobody can decide this step")
    return Approvers(tuple(stand_ins), standing_in=True)
