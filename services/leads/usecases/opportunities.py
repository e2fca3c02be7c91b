"""What becomes of an opportunity once its conversion is through: moved, described, handed over, won or lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import Conflict, Forbidden, InvalidInput, RuleViolation
from services.chassis.ids import derive_id, new_id
from services.chassis.tokens import Caller
from services.kernel.money import format_amount, parse_amount
from services.kernel.texts import parse_text
from services.leads.domain.stages import PRESET, Stage, check_stages
from services.leads.domain.states import OpportunityAction, OpportunityState, next_opportunity_state
from services.leads.store.queries import lock_opportunity
from services.leads.store.tables import Opportunity, OpportunityChange, Stages
from services.leads.usecases.leads import Person

LONGEST_NOTE = 4000


@dataclass(frozen=True)
class OpportunityFacts:
    """What is known of a sale, as typed. amount: CNY. expected_close_date: 2026-03-01 or ""."""

    amount: str
    expected_close_date: str
    needs: str
    competitors: str


def stages_of(tx: Transaction, *, lock: bool = False) -> list[Stage]:
    """Return the tenant's stages in order; the first use lays the preset down."""
    preset = [
        {"id": derive_id("stage", tx.tenant.id, name), "name": name, "probability": probability}
        for name, probability in PRESET
    ]
    tx.session.execute(insert(Stages).values(tenant_id=tx.tenant.id, stages=preset).on_conflict_do_nothing())
    query = select(Stages).where(Stages.tenant_id == tx.tenant.id)
    row = tx.session.scalars(query.with_for_update() if lock else query).one()
    return [Stage(item["id"], item["name"], item["probability"]) for item in row.stages]


def update_stages(tx: Transaction, given: Sequence[Stage]) -> list[Stage]:
    """Set the tenant's stages; one without id is new.

    Raises InvalidInput naming the field (see `check_stages`), STAGE_UNKNOWN; RuleViolation STAGE_IN_USE.
    """
    before = {stage.id: stage for stage in stages_of(tx, lock=True)}
    for index, stage in enumerate(given):
        if stage.id and stage.id not in before:
            raise _stage_unknown(f"stages[{index}].stage_id")
    after = check_stages([Stage(stage.id or new_id(), stage.name, stage.probability) for stage in given])
    first = next(iter(before))
    for gone in set(before) - {stage.id for stage in after}:
        held = select(Opportunity.id).where(
            Opportunity.tenant_id == tx.tenant.id,
            Opportunity.state.in_((OpportunityState.OPEN, OpportunityState.CONVERTING)),
            Opportunity.stage_id == gone
            if gone != first
            else (Opportunity.stage_id == gone) | Opportunity.stage_id.is_(None),
        )
        if tx.session.scalar(held.limit(1)):
            raise RuleViolation(
                "STAGE_IN_USE",
                "阶段“{name}”下还有进行中的商机",
                "There are open opportunities in the stage “{name}”",
                name=before[gone].name,
            )
    tx.session.get_one(Stages, tx.tenant.id).stages = [
        {"id": stage.id, "name": stage.name, "probability": stage.probability} for stage in after
    ]
    return after


def enter_first_stage(tx: Transaction, opportunity: Opportunity) -> None:
    """Put an opportunity that has just come to be into the first stage."""
    opportunity.stage_id, opportunity.stage_time = stages_of(tx)[0].id, tx.now
    _log(tx, opportunity, "created", None, "")


def update_opportunity(
    tx: Transaction, caller: Caller, opportunity_id: str, version: int, given: OpportunityFacts
) -> Opportunity:
    """Change what is known of an own open opportunity (F81).

    Raises InvalidInput naming the field, Conflict OPPORTUNITY_CHANGED, and what every verb of an owner does: NotFound
    OPPORTUNITY_NOT_FOUND, Forbidden OPPORTUNITY_NOT_OWNED, RuleViolation OPPORTUNITY_STATE.
    """
    opportunity = _own(tx, caller, opportunity_id, OpportunityAction.UPDATE)
    if opportunity.version != version:
        raise Conflict(
            "OPPORTUNITY_CHANGED",
            "商机已被他人修改，请刷新后重试",
            "The opportunity was changed meanwhile; reload",
        )
    before = opportunity.amount
    opportunity.amount = parse_amount(given.amount, "amount")
    opportunity.expected_close_date = _day(given.expected_close_date)
    opportunity.needs = parse_text(given.needs, "needs", LONGEST_NOTE, required=False)
    opportunity.competitors = parse_text(given.competitors, "competitors", LONGEST_NOTE, required=False)
    changed = before != opportunity.amount
    text = f"金额 {format_amount(before)} → {format_amount(opportunity.amount)}" if changed else ""
    return _moved(tx, opportunity, OpportunityAction.UPDATE, opportunity.stage_id, text)


def move_opportunity(tx: Transaction, caller: Caller, opportunity_id: str, stage_id: str) -> Opportunity:
    """Move an own open opportunity to another stage (F78); raises as `update_opportunity`, STAGE_UNKNOWN."""
    opportunity = _own(tx, caller, opportunity_id, OpportunityAction.MOVE)
    # Locked, so that no stage goes away while something is moved into it.
    if stage_id not in {stage.id for stage in stages_of(tx, lock=True)}:
        raise _stage_unknown("stage_id")
    before = opportunity.stage_id
    if stage_id == before:
        return opportunity
    opportunity.stage_id, opportunity.stage_time = stage_id, tx.now
    return _moved(tx, opportunity, OpportunityAction.MOVE, before, "")


def transfer_opportunity(tx: Transaction, caller: Caller, opportunity_id: str, owner: Person) -> Opportunity:
    """Hand an open opportunity over (F82).

    Raises NotFound OPPORTUNITY_NOT_FOUND, RuleViolation OPPORTUNITY_STATE or OWNER_INACTIVE.
    """
    opportunity = _act(lock_opportunity(tx, caller, opportunity_id), tx, OpportunityAction.TRANSFER)
    if not owner.active:
        raise RuleViolation(
            "OWNER_INACTIVE",
            "{name} 已停用，不能接手商机",
            "{name} is disabled and gets no opportunities",
            name=owner.name,
        )
    opportunity.owner_id, opportunity.owner_department_path = owner.person_id, owner.department_path
    _moved(tx, opportunity, OpportunityAction.TRANSFER, opportunity.stage_id, owner.name)
    _tell(
        tx,
        opportunity,
        "opportunity_transferred",
        {"fromPersonId": caller.person_id, "fromName": caller.name},
    )
    return opportunity


def lose_opportunity(tx: Transaction, caller: Caller, opportunity_id: str, reason: str) -> Opportunity:
    """Close an own open opportunity as lost; raises as `update_opportunity`."""
    reason = parse_text(reason, "reason", 1000)
    opportunity = _own(tx, caller, opportunity_id, OpportunityAction.LOSE)
    opportunity.lose_reason, opportunity.close_time = reason, tx.now
    _moved(tx, opportunity, OpportunityAction.LOSE, opportunity.stage_id, reason)
    _tell(tx, opportunity, "opportunity_lost", {"reason": reason})
    return opportunity


def win_opportunity(tx: Transaction, caller: Caller, opportunity_id: str) -> Opportunity:
    """Close an own open opportunity as won; one order follows. Raises as `update_opportunity`."""
    opportunity = _own(tx, caller, opportunity_id, OpportunityAction.WIN)
    opportunity.close_time = tx.now
    _moved(tx, opportunity, OpportunityAction.WIN, opportunity.stage_id, "")
    _tell(tx, opportunity, "opportunity_won", {})
    return opportunity


def _tell(tx: Transaction, opportunity: Opportunity, event: str, more: Mapping[str, str]) -> None:
    """Tell others what became of an opportunity; more: what only this event says."""
    tx.emit(
        event,
        opportunity.id,
        opportunity.version,
        {
            "opportunityId": opportunity.id,
            "name": opportunity.name,
            "customerId": opportunity.customer_id,
            "customerName": opportunity.customer_name,
            "ownerId": opportunity.owner_id,
            "ownerDepartmentPath": opportunity.owner_department_path,
            "amount": format_amount(opportunity.amount),
            **more,
        },
    )


def _own(tx: Transaction, caller: Caller, opportunity_id: str, action: OpportunityAction) -> Opportunity:
    opportunity = lock_opportunity(tx, caller, opportunity_id)
    if opportunity.owner_id != caller.person_id:
        raise Forbidden(
            "OPPORTUNITY_NOT_OWNED", "只有商机负责人可以操作", "Only the opportunity's owner may do this"
        )
    return _act(opportunity, tx, action)


def _act(opportunity: Opportunity, tx: Transaction, action: OpportunityAction) -> Opportunity:
    opportunity.state = next_opportunity_state(OpportunityState(opportunity.state), action)
    if opportunity.stage_id is None:
        # From before there were stages.
        opportunity.stage_id, opportunity.stage_time = stages_of(tx)[0].id, opportunity.create_time
    return opportunity


def _moved(
    tx: Transaction, opportunity: Opportunity, action: OpportunityAction, before: str | None, text: str
) -> Opportunity:
    opportunity.version += 1
    _log(tx, opportunity, action, before, text)
    return opportunity


def _log(tx: Transaction, opportunity: Opportunity, action: str, before: str | None, text: str) -> None:
    tx.session.add(
        OpportunityChange(
            tenant_id=tx.tenant.id,
            opportunity_id=opportunity.id,
            action=action,
            from_stage_id=before,
            to_stage_id=opportunity.stage_id,
            actor_id=tx.actor_id or None,
            text=text,
            create_time=tx.now,
        )
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidInput(
            "expected_close_date", "DAY_INVALID", "日期格式应为 2026-03-01", "A day is written as 2026-03-01"
        ) from None


def _stage_unknown(field: str) -> InvalidInput:
    return InvalidInput(field, "STAGE_UNKNOWN", "没有该阶段", "There is no such stage")


def hear_of_order(tx: Transaction, opportunity_id: str, order_id: str, state: str, version: int) -> None:
    """Keep the state of the order that came of an opportunity, unless it is older than what is known.

    state: as orders names it. An order without an opportunity of ours is none of our business.
    """
    tx.session.execute(
        update(Opportunity)
        .where(
            Opportunity.tenant_id == tx.tenant.id,
            Opportunity.id == opportunity_id,
            Opportunity.order_version < version,
        )
        .values(order_id=order_id, order_state=state, order_version=version)
    )
