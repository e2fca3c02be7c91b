"""Find out who decides a step. No transaction is open meanwhile: it asks identity."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from services.approvals.domain.flows import (
    DECIDE_RIGHT,
    OWN_DEPARTMENT,
    STAND_IN_ROLE,
    FlowStep,
    WhenEmpty,
)
from services.chassis.errors import Unavailable
from services.chassis.tenancy import Tenant


class Directory(Protocol):
    """What is asked of identity, on behalf of the submitter."""

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        """Return the active holders of a role over a person, never the person itself; nobody for an unknown role."""

    def heads(self, tenant: Tenant, person_id: str, department_id: str) -> list[str]:
        """Return the heads over a person, the nearest first: from the department on upward, "" for the person's own."""

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        """Return whether a person is active and has a right."""


@dataclass(frozen=True)
class StepToAsk:
    """A step that will need approvers. chosen_approver_id: whom the submitter chose, "" for nobody.

    overdue: it has waited too long, those it is escalated to are asked too. handed: (from, to) in order, who handed
    their place on.
    """

    index: int
    step: FlowStep
    chosen_approver_id: str = ""
    overdue: bool = False
    handed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Approvers:
    """Who may decide a step.

    escalated_ids: who may too, alone, because it has waited too long. standing_in: nobody fits the step, any one of
    these does it instead: administrators, or people whom the step names for that. empty: nobody does, and what that
    comes to: APPROVE or REFUSE. handed_count: how many hand-overs are in it.
    """

    person_ids: tuple[str, ...]
    escalated_ids: tuple[str, ...] = ()
    standing_in: WhenEmpty | None = None
    empty: WhenEmpty | None = None
    handed_count: int = 0


def find_approvers(directory: Directory, tenant: Tenant, submitter_id: str, asked: StepToAsk) -> Approvers:
    """Return who decides a step: never the submitter, and nobody who may not decide.

    A place that was handed on is its new holder's, as long as that one can decide. Raises Unavailable NO_APPROVER while
    not even an administrator can: it is asked again later.
    """
    step = asked.step

    def fitting(people: Iterable[str]) -> tuple[str, ...]:
        return tuple(
            person
            for person in dict.fromkeys(people)
            if person and person != submitter_id and directory.may(tenant, submitter_id, person, DECIDE_RIGHT)
        )

    def holders(roles: Iterable[str]) -> list[str]:
        return [person for role in roles for person in directory.role_holders(tenant, submitter_id, role)]

    if step.roles:
        wanted = holders(step.roles)
    elif step.superior_level:
        heads = directory.heads(tenant, submitter_id, "")
        wanted = heads[step.superior_level - 1 : step.superior_level]
    elif step.head_of:
        department_id = "" if step.head_of == OWN_DEPARTMENT else step.head_of
        wanted = directory.heads(tenant, submitter_id, department_id)[:1]
    else:
        wanted = [*step.person_ids] or [asked.chosen_approver_id]
    for giver, taker in asked.handed:
        if giver in wanted and fitting([taker]):
            wanted = [taker if person == giver else person for person in wanted]
    count = len(asked.handed)
    found = fitting(wanted)
    escalated = fitting(holders([step.escalate_role])) if asked.overdue and step.escalate_role else ()
    if found or escalated:
        return Approvers(
            found, tuple(person for person in escalated if person not in found), handed_count=count
        )
    if step.when_empty in (WhenEmpty.APPROVE, WhenEmpty.REFUSE):
        return Approvers((), empty=step.when_empty, handed_count=count)
    named = fitting(step.stand_in_ids)
    if named:
        return Approvers(named, standing_in=WhenEmpty.NAMED, handed_count=count)
    administrators = tuple(directory.role_holders(tenant, submitter_id, STAND_IN_ROLE))
    if not administrators:
        raise Unavailable("NO_APPROVER", "没有可用的审批人", "Nobody can decide this step")
    return Approvers(administrators, standing_in=WhenEmpty.ADMINISTRATORS, handed_count=count)
