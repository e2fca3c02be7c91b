"""What approvals asks its tables."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.approvals.domain.flows import (
    DEFAULT_TIME_LIMIT,
    PRESETS,
    FlowRules,
    FlowStep,
    Mode,
    Recall,
    Repeat,
    SubjectType,
    WhenEmpty,
)
from services.approvals.domain.steps import UNDECIDED, ApprovalState, StepState
from services.approvals.store.tables import Approval, Decision, Delegation, Deputy, Flow, FlowVersion, Step
from services.chassis.db import Transaction
from services.chassis.errors import not_found


class View(Enum):
    """Which approvals a list shows: those that wait for a person, that the person submitted, or decided."""

    INBOX = auto()
    SUBMITTED = auto()
    DECIDED = auto()


@dataclass(frozen=True)
class Whole:
    """An approval with its steps in order; the decisions and the delegations by step, in order."""

    approval: Approval
    steps: tuple[Step, ...]
    decisions: dict[int, list[Decision]] = field(default_factory=dict)
    delegations: dict[int, list[Delegation]] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowOf:
    """A tenant's flow as it is now."""

    steps: tuple[FlowStep, ...]
    rules: FlowRules
    version: int


def flow(tx: Transaction, subject_type: SubjectType, *, lock: bool = False) -> FlowOf:
    """Return a tenant's flow, locked if asked; the first use makes it from the preset."""
    preset = [pack_step(step) for step in PRESETS[subject_type]]
    made = tx.session.execute(
        insert(Flow)
        .values(tenant_id=tx.tenant.id, subject_type=subject_type, steps=preset, version=1)
        .on_conflict_do_nothing()
        .returning(Flow.version)
    )
    if made.first():
        add_version(tx, subject_type, 1, preset, {}, "")
    query = select(Flow).where(Flow.tenant_id == tx.tenant.id, Flow.subject_type == subject_type)
    row = tx.session.scalars(query.with_for_update() if lock else query).one()
    return FlowOf(tuple(map(unpack_step, row.steps)), unpack_rules(row.rules), row.version)


def set_flow(
    tx: Transaction,
    subject_type: SubjectType,
    steps: Sequence[FlowStep],
    rules: FlowRules,
    version: int,
    actor_id: str,
) -> None:
    """Replace a locked flow, and keep the version."""
    packed, packed_rules = [pack_step(step) for step in steps], pack_rules(rules)
    tx.session.execute(
        update(Flow)
        .where(Flow.tenant_id == tx.tenant.id, Flow.subject_type == subject_type)
        .values(steps=packed, rules=packed_rules, version=version)
    )
    add_version(tx, subject_type, version, packed, packed_rules, actor_id)


def add_version(
    tx: Transaction,
    subject_type: SubjectType,
    version: int,
    packed: list[dict[str, Any]],
    rules: dict[str, str],
    actor_id: str,
) -> None:
    """Keep a version of a flow; actor_id: "" for the preset."""
    tx.session.add(
        FlowVersion(
            tenant_id=tx.tenant.id,
            subject_type=subject_type,
            version=version,
            steps=packed,
            rules=rules,
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
        "mode": step.mode,
        "superior_level": step.superior_level,
        "head_of": step.head_of,
        "when_empty": step.when_empty,
        "stand_in_ids": list(step.stand_in_ids),
        "condition": step.condition,
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
        mode=Mode(packed.get("mode", Mode.ANY)),
        superior_level=packed.get("superior_level", 0),
        head_of=packed.get("head_of", ""),
        when_empty=WhenEmpty(packed.get("when_empty", WhenEmpty.ADMINISTRATORS)),
        stand_in_ids=tuple(packed.get("stand_in_ids", ())),
        condition=packed.get("condition", ""),
    )


def pack_rules(rules: FlowRules) -> dict[str, str]:
    """Return the rules of a flow as they are stored."""
    return {"recall": rules.recall, "repeat": rules.repeat}


def unpack_rules(packed: dict[str, str]) -> FlowRules:
    """Return stored rules; a flow of a release before has none."""
    return FlowRules(Recall(packed.get("recall", Recall.UNDECIDED)), Repeat(packed.get("repeat", Repeat.ASK)))


def flow_step(step: Step) -> FlowStep:
    """Return what a step of an approval was copied from."""
    if step.spec is not None:
        return unpack_step(step.spec)
    return FlowStep(
        name=step.name,
        roles=tuple(step.roles),
        person_ids=tuple(step.person_ids),
        amount_from=step.amount_from,
        amount_below=step.amount_below,
        time_limit=timedelta(seconds=step.time_limit_s),
        escalate_role=step.escalate_role,
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


def undecided(tx: Transaction, subject_type: SubjectType, subject_id: str) -> Whole | None:
    """Return the approval of a subject that is not decided, locked; until the end, nobody else submits the subject."""
    key = f"{tx.tenant.id} {subject_type} {subject_id}"
    tx.session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))
    found = tx.session.scalars(
        select(Approval)
        .where(
            Approval.tenant_id == tx.tenant.id,
            Approval.subject_type == subject_type,
            Approval.subject_id == subject_id,
            Approval.state.in_(UNDECIDED),
        )
        .with_for_update()
    ).one_or_none()
    return _wholes(tx, [found])[0] if found else None


def submitted_by(tx: Transaction, subject_type: SubjectType, subject_id: str, submitter_id: str) -> bool:
    """Return whether a person submitted a subject before."""
    return bool(
        tx.session.scalar(
            select(
                exists().where(
                    Approval.tenant_id == tx.tenant.id,
                    Approval.subject_type == subject_type,
                    Approval.subject_id == subject_id,
                    Approval.submitter_id == submitter_id,
                )
            )
        )
    )


def earlier_rounds(tx: Transaction, approvals: Sequence[Approval]) -> dict[str, list[Whole]]:
    """Return the rounds of the same subject before each of these approvals, newest first, by approval id."""
    subjects = {(each.subject_type, each.subject_id) for each in approvals}
    found = tx.session.scalars(
        select(Approval)
        .where(
            Approval.tenant_id == tx.tenant.id,
            tuple_(Approval.subject_type, Approval.subject_id).in_(subjects),
        )
        .order_by(Approval.create_time.desc(), Approval.id.desc())
    ).all()
    rounds = _wholes(tx, found)
    return {
        each.id: [
            item
            for item in rounds
            if (item.approval.subject_type, item.approval.subject_id) == (each.subject_type, each.subject_id)
            and (item.approval.create_time, item.approval.id) < (each.create_time, each.id)
        ]
        for each in approvals
    }


def in_hands_of(tx: Transaction, person_id: str) -> list[str]:
    """Return the ids of undecided approvals that wait for a person, will, or are being prepared."""
    asked = exists().where(
        Step.approval_id == Approval.id,
        Step.state.in_((StepState.WAITING, StepState.OPEN)),
        or_(Step.approver_ids.contains([person_id]), Step.seat_ids.contains([person_id])),
    )
    query = select(Approval.id).where(
        Approval.tenant_id == tx.tenant.id,
        or_(
            Approval.state == ApprovalState.PREPARING,
            and_(Approval.state == ApprovalState.OPEN, asked),
        ),
    )
    return list(tx.session.scalars(query.order_by(Approval.id)))


def principals(tx: Transaction, person_id: str) -> list[str]:
    """Return in whose place a person may decide now."""
    return list(
        tx.session.scalars(
            select(Deputy.person_id)
            .where(Deputy.tenant_id == tx.tenant.id, Deputy.deputy_id == person_id, _holds_now(tx))
            .order_by(Deputy.create_time, Deputy.id)
        )
    )


def deputies_of(tx: Transaction, person_ids: Iterable[str]) -> list[str]:
    """Return who may decide now in the place of any of these people."""
    return list(
        tx.session.scalars(
            select(Deputy.deputy_id)
            .where(Deputy.tenant_id == tx.tenant.id, Deputy.person_id.in_(list(person_ids)), _holds_now(tx))
            .order_by(Deputy.create_time, Deputy.id)
        )
    )


def deputies(tx: Transaction, person_id: str) -> Sequence[Deputy]:
    """Return the deputies that are not over, newest first: a person's, given and taken, or "" for everybody's."""
    query = select(Deputy).where(Deputy.tenant_id == tx.tenant.id, Deputy.end_time > tx.now)
    if person_id:
        query = query.where(or_(Deputy.person_id == person_id, Deputy.deputy_id == person_id))
    return tx.session.scalars(query.order_by(Deputy.create_time.desc(), Deputy.id.desc())).all()


def deputy(tx: Transaction, deputy_id: str) -> Deputy:
    """Return a deputy, locked; raises NotFound."""
    found = tx.session.scalars(
        select(Deputy).where(Deputy.tenant_id == tx.tenant.id, Deputy.id == deputy_id).with_for_update()
    ).one_or_none()
    if found is None:
        raise not_found("deputy", "委托", deputy_id)
    return found


def _holds_now(tx: Transaction) -> ColumnElement[bool]:
    return and_(Deputy.begin_time <= tx.now, Deputy.end_time > tx.now)


def listed(
    tx: Transaction, view: View, person_id: str, before: tuple[datetime, str] | None, limit: int
) -> list[Whole]:
    """Return a person's approvals of a view, newest first, from behind `before` on."""
    query = select(Approval).where(Approval.tenant_id == tx.tenant.id)
    match view:
        case View.INBOX:
            query = query.where(
                Approval.state == ApprovalState.OPEN, _waits_for(person_id, principals(tx, person_id))
            )
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


def _waits_for(person_id: str, for_ids: Sequence[str]) -> ColumnElement[bool]:
    """Return whether an approval's open step waits for a person, or for one whose deputy the person is.

    Nobody is the deputy for an own submission.
    """
    own = exists().where(
        Step.approval_id == Approval.id,
        Step.state == StepState.OPEN,
        Step.approver_ids.contains([person_id]),
    )
    if not for_ids:
        return own
    taken = exists().where(
        Step.approval_id == Approval.id,
        Step.state == StepState.OPEN,
        Step.approver_ids.overlap(list(for_ids)),
    )
    return or_(own, and_(taken, Approval.submitter_id != person_id))


def _wholes(tx: Transaction, approvals: Sequence[Approval]) -> list[Whole]:
    ids = [approval.id for approval in approvals]
    steps: defaultdict[str, list[Step]] = defaultdict(list)
    for step in tx.session.scalars(
        select(Step).where(Step.approval_id.in_(ids)).order_by(Step.approval_id, Step.step_index)
    ):
        steps[step.approval_id].append(step)
    decisions: defaultdict[str, defaultdict[int, list[Decision]]] = defaultdict(lambda: defaultdict(list))
    for decision in tx.session.scalars(
        select(Decision)
        .where(Decision.approval_id.in_(ids))
        .order_by(Decision.create_time, Decision.step_index, Decision.seat)
    ):
        decisions[decision.approval_id][decision.step_index].append(decision)
    delegations: defaultdict[str, defaultdict[int, list[Delegation]]] = defaultdict(lambda: defaultdict(list))
    for row in tx.session.scalars(
        select(Delegation).where(Delegation.approval_id.in_(ids)).order_by(Delegation.id)
    ):
        delegations[row.approval_id][row.step_index].append(row)
    return [
        Whole(approval, tuple(steps[approval.id]), decisions[approval.id], delegations[approval.id])
        for approval in approvals
    ]
