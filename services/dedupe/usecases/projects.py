"""Register a project, so that nobody else works on it: the project is the unique key, not the customer (F153).

Dedupe is the writer itself: reservation, key and project are one transaction, so there is nothing to settle. Whoever
dies in the middle holds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.dedupe.domain.keys import SubjectKind, normalise_name
from services.dedupe.domain.projects import ProjectState, check_closable, project_key
from services.dedupe.domain.reservations import ReservationState
from services.dedupe.store import queries
from services.dedupe.store.index import FORMER
from services.dedupe.store.moves import MOVED
from services.dedupe.store.queries import Held
from services.dedupe.store.tables import MatchRecord, Project, Reservation, Suspect
from services.dedupe.usecases import suspects
from services.dedupe.usecases.reservations import cancel, key_held
from services.kernel.masking import mask_name
from services.kernel.visibility import visible


@dataclass(frozen=True)
class ProjectDraft:
    """A project to be registered. customer_id: UUID, "" where it is not known whose it is."""

    name: str
    site_address: str
    scheme: str
    customer_id: str = ""


def register_project(tx: Transaction, caller: Caller, draft: ProjectDraft) -> tuple[Project, list[Suspect]]:
    """Register a project for the caller; return it with the open suspects that it belongs to (F158).

    Waits for a simultaneous registration of the same project to commit. Raises AlreadyExists KEY_HELD with `holder`
    (masked), `kind`, `field` and `since`; NotFound CUSTOMER_NOT_FOUND; InvalidInput PROJECT_NAMELESS.
    """
    key = project_key(draft.name, draft.site_address)
    project = Project(
        tenant_id=tx.tenant.id,
        project_id=new_id(),
        reservation_id=new_id(),
        state=ProjectState.OPEN,
        name=draft.name,
        site_address=draft.site_address,
        scheme=draft.scheme,
        customer_id=_customer(tx, draft.customer_id) if draft.customer_id else None,
        owner_id=caller.person_id,
        owner_name=mask_name(caller.name),
        department_path=caller.department_path,
        close_reason="",
        create_time=tx.now,
        close_time=None,
        version=1,
    )
    tx.session.add(
        Reservation(
            tenant_id=tx.tenant.id,
            reservation_id=project.reservation_id,
            state=ReservationState.CONFIRMED,
            request_digest=key.digest,
            holder_id=caller.person_id,
            holder_name=project.owner_name,
            settle_time=tx.now,
            create_time=tx.now,
        )
    )
    tx.session.flush()
    # The key before the lock below: whoever waits for a key holds no lock that its holder needs.
    for held in queries.take_keys(tx, project.reservation_id, {key: project.project_id}):
        raise key_held(held)
    suspects.one_at_a_time(tx)
    settings = suspects.suspicion_of(tx)
    projects, inquiries = suspects.open_projects(tx), suspects.inquiries_of_window(tx, settings)
    tx.session.add(project)
    tx.session.flush()
    apart = suspects.told_apart(tx, project, (*projects, *inquiries))
    own_name = normalise_name(project.name)
    alike = [
        found
        for other in projects
        if other.owner_id != project.owner_id and suspects.mark_of(other) not in apart
        for found in suspects.same_project(
            project, other, settings, equal_names=normalise_name(other.name) == own_name
        )
    ]
    alike += [
        found
        for inquiry in inquiries
        if inquiry.recorder_id != project.owner_id and suspects.mark_of(inquiry) not in apart
        for found in suspects.same_project(project, inquiry, settings)
    ]
    return project, suspects.raise_suspects(tx, project, alike, settings)


def holders_of(tx: Transaction, draft: ProjectDraft) -> list[Held]:
    """Return who holds a project's key, at most one."""
    return queries.holders(tx, [project_key(draft.name, draft.site_address)])


def close_project(tx: Transaction, caller: Caller, project_id: str, reason: str) -> Project:
    """End a registration and give back its key: the project is done, lost or given up.

    For whoever sees it. Raises NotFound PROJECT_NOT_FOUND, RuleViolation PROJECT_CLOSED.
    """
    project = tx.session.scalar(
        select(Project)
        .where(
            Project.tenant_id == tx.tenant.id,
            Project.project_id == project_id,
            visible(caller, Project.owner_id, Project.department_path),
        )
        .with_for_update()
    )
    if project is None:
        raise not_found("project", "项目报备", project_id)
    check_closable(project.state)
    project.state = ProjectState.CLOSED
    project.close_reason = reason
    project.close_time = tx.now
    project.version += 1
    cancel(tx, project.reservation_id)
    return project


def list_projects(
    tx: Transaction, caller: Caller, state: ProjectState, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Project]:
    """Return the projects that somebody sees, the newest first."""
    query = select(Project).where(
        Project.tenant_id == tx.tenant.id,
        Project.state == state,
        visible(caller, Project.owner_id, Project.department_path),
    )
    if after:
        query = query.where(tuple_(Project.create_time, Project.project_id) < after)
    return tx.session.scalars(
        query.order_by(Project.create_time.desc(), Project.project_id.desc()).limit(limit)
    ).all()


def _customer(tx: Transaction, customer_id: str) -> str:
    """Return whom a customer's id stands for now, held until the project is written."""
    current = MOVED.current(tx, customer_id, hold=True)
    known = tx.session.scalar(
        select(MatchRecord.subject_id).where(
            MatchRecord.tenant_id == tx.tenant.id,
            MatchRecord.subject_id == current,
            MatchRecord.kind.in_((SubjectKind.CUSTOMER, FORMER)),
        )
    )
    if known is None:
        raise not_found("customer", "客户", customer_id)
    return current
