"""What approvals asks its tables."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from sqlalchemy import exists, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.approvals.domain.flows import DEFAULT_TIME_LIMIT, PRESETS, FlowStep, SubjectType
from services.approvals.domain.steps import ApprovalState, StepState
from services.approvals.store.tables import Approval, Decision, Delegation, Flow, FlowVersion, Step
from services.chassis.db import Transaction
from services.chassis.errors import not_found


class View(Enum):
    """Which approvals a list shows: those that wait for a person, that the person submitted, or decided."""

    INBOX = auto()
    SUBMITTED = auto()
    DECIDED = auto()


@dataclass(frozen=True)
class Whole:
    """An approval with its steps in order, the decisions and the delegations by step."""

    approval: Approval
    steps: tuple[Step, ...]
    decisions: dict[int, Decision]
    delegations: dict[int, list[Delegation]] = field(default_factory=dict)


def flow(
    tx: Transaction, subject_type: SubjectType, *, lock: bool = False
) -> tuple[tuple[FlowStep, ...], int]:
    """Return a tenant's flow and its version, locked if asked; the first use makes it from the preset."""
    preset = [pack_step(step) for step in PRESETS[subject_type]]
    made = tx.session.execute(
        insert(Flow)
        .values(tenant_id=tx.tenant.id, subject_type=subject_type, steps=preset, version=1)
        .on_conflict_do_nothing()
        .returning(Flow.version)
    )
    if made.first():
        add_version(tx, subject_type, 1, preset, "")
    query = select(Flow).where(Flow.tenant_id == tx.tenant.id, Flow.subject_type == subject_type)
    row = tx.session.scalars(query.with_for_update() if lock else query).one()
    return tuple(map(unpack_step, row.steps)), row.version


def set_flow(
    tx: Transaction, subject_type: SubjectType, steps: Sequence[FlowStep], version: int, actor_id: str
) -> None:
    """Replace a locked flow, and keep the version."""
    packed = [pack_step(step) for step in steps]
    tx.session.execute(
        update(Flow)
        .where(Flow.tenant_id == tx.tenant.id, Flow.subject_type == subject_type)
        .values(steps=packed, version=version)
    )
    add_version(tx, subject_type, version, packed, actor_id)


def add_version(
    tx: Transaction, subject_type: SubjectType, version: int, packed: list[dict[str, Any]], actor_id: str
) -> None:
    """Keep a version of a flow; actor_id: "" for the preset."""
    tx.session.add(
        FlowVersion(
            tenant_id=tx.tenant.id,
            subject_type=subject_type,
            version=version,
            steps=packed,
            actor_id=actor_id or None,
            create_time=tx.now,
        )
    )
    tx.session.flush()


def flow_versions(tx: Transaction, subject_type: SubjectType) -> Sequence[FlowVersion]:
    """Return every version of a flow, newest first."""
    return tx.session.scalars(
        select(FlowVersion)
        .where(FlowVersion.tenant_id == tx.tenant.id, FlowVersion.subject_type == subject_type)
        .order_by(FlowVersion.version.desc())
    ).all()


def pack_step(step: FlowStep) -> dict[str, Any]:
    """Return a step of a flow as it is stored; role: the first of roles, for readers of a release before."""
    return {
        "name": step.name,
        "role": step.roles[0] if step.roles else "",
        "roles": list(step.roles),
        "person_ids": list(step.person_ids),
        "amount_from": _text(step.amount_from),
        "amount_below": _text(step.amount_below),
        "time_limit_s": int(step.time_limit.total_seconds()),
        "escalate_role": step.escalate_role,
    }


def unpack_step(packed: dict[str, Any]) -> FlowStep:
    """Return a stored step; one of a release before has a role at most."""
    role = (packed["role"],) if packed["role"] else ()
    limit = packed.get("time_limit_s")
    return FlowStep(
        name=packed["name"],
        roles=tuple(packed.get("roles", role)),
        person_ids=tuple(packed.get("person_ids", ())),
        amount_from=_amount(packed["amount_from"]),
        amount_below=_amount(packed.get("amount_below", "")),
        time_limit=timedelta(seconds=limit) if limit else DEFAULT_TIME_LIMIT,
        escalate_role=packed.get("escalate_role", ""),
    )


def _text(amount: Decimal | None) -> str:
    return "" if amount is None else str(amount)


def _amount(text: str) -> Decimal | None:
    return Decimal(text) if text else None


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
    delegations: defaultdict[str, defaultdict[int, list[Delegation]]] = defaultdict(lambda: defaultdict(list))
    for row in tx.session.scalars(
        select(Delegation).where(Delegation.approval_id.in_(ids)).order_by(Delegation.id)
    ):
        delegations[row.approval_id][row.step_index].append(row)
    return [
        Whole(approval, tuple(steps[approval.id]), decisions[approval.id], delegations[approval.id])
        for approval in approvals
    ]
