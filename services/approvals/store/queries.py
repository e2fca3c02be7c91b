"""What approvals asks its tables."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto

from sqlalchemy import exists, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.approvals.domain.flows import PRESETS, FlowStep, SubjectType
from services.approvals.domain.steps import ApprovalState, StepState
from services.approvals.store.tables import Approval, Decision, Flow, Step
from services.chassis.db import Transaction
from services.chassis.errors import not_found


class View(Enum):
    """Which approvals a list shows: those that wait for a person, that the person submitted, or decided."""

    INBOX = auto()
    SUBMITTED = auto()
    DECIDED = auto()


@dataclass(frozen=True)
class Whole:
    """An approval with its steps in order and the decisions by step."""

    approval: Approval
    steps: tuple[Step, ...]
    decisions: dict[int, Decision]


def flow(tx: Transaction, subject_type: SubjectType) -> tuple[tuple[FlowStep, ...], int]:
    """Return a tenant's flow and its version; the first use makes it from the preset."""
    preset = [
        {"name": step.name, "role": step.role, "amount_from": str(step.amount_from or "")}
        for step in PRESETS[subject_type]
    ]
    tx.session.execute(
        insert(Flow)
        .values(tenant_id=tx.tenant.id, subject_type=subject_type, steps=preset, version=1)
        .on_conflict_do_nothing()
    )
    row = tx.session.scalars(
        select(Flow).where(Flow.tenant_id == tx.tenant.id, Flow.subject_type == subject_type)
    ).one()
    steps = (
        FlowStep(step["name"], step["role"], Decimal(step["amount_from"]) if step["amount_from"] else None)
        for step in row.steps
    )
    return tuple(steps), row.version


def whole(tx: Transaction, approval_id: str, *, lock: bool = False) -> Whole:
    """Return an approval, its row locked if asked; raises NotFound."""
    query = select(Approval).where(Approval.tenant_id == tx.tenant.id, Approval.id == approval_id)
    if lock:
        query = query.with_for_update()
    approval = tx.session.scalars(query).one_or_none()
    if approval is None:
        raise not_found("approval", "审批", approval_id)
    return _wholes(tx, [approval])[0]


def listed(
    tx: Transaction, view: View, person_id: str, before: tuple[datetime, str] | None, limit: int
) -> list[Whole]:
    """Return a person's approvals of a view, newest first, from behind `before` on."""
    query = select(Approval).where(Approval.tenant_id == tx.tenant.id)
    match view:
        case View.INBOX:
            waiting = exists().where(
                Step.approval_id == Approval.id,
                Step.state == StepState.OPEN,
                Step.approver_ids.contains([person_id]),
            )
            query = query.where(Approval.state == ApprovalState.OPEN, waiting)
        case View.SUBMITTED:
            query = query.where(Approval.submitter_id == person_id)
        case View.DECIDED:
            query = query.where(
                exists().where(
                    Decision.tenant_id == tx.tenant.id,
                    Decision.decider_id == person_id,
                    Decision.approval_id == Approval.id,
                )
            )
    if before:
        query = query.where(tuple_(Approval.create_time, Approval.id) < before)
    query = query.order_by(Approval.create_time.desc(), Approval.id.desc()).limit(limit)
    return _wholes(tx, tx.session.scalars(query).all())


def _wholes(tx: Transaction, approvals: Sequence[Approval]) -> list[Whole]:
    ids = [approval.id for approval in approvals]
    steps: defaultdict[str, list[Step]] = defaultdict(list)
    for step in tx.session.scalars(
        select(Step).where(Step.approval_id.in_(ids)).order_by(Step.approval_id, Step.step_index)
    ):
        steps[step.approval_id].append(step)
    decisions: defaultdict[str, dict[int, Decision]] = defaultdict(dict)
    for decision in tx.session.scalars(select(Decision).where(Decision.approval_id.in_(ids))):
        decisions[decision.approval_id][decision.step_index] = decision
    return [Whole(approval, tuple(steps[approval.id]), decisions[approval.id]) for approval in approvals]
