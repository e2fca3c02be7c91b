"""Messages of the contract: rows as whoever reads them may see them, and what a form says, checked."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from crm.leads.v1 import leads_pb2
from crm.orders.v1 import orders_pb2

from services.chassis.db import Transaction
from services.chassis.declarations import show_number
from services.chassis.errors import InvalidInput
from services.chassis.timestamps import timestamp
from services.chassis.tokens import Caller
from services.kernel.fields import display_value
from services.kernel.money import format_amount
from services.kernel.ownership import LONGEST_IDLE_DAYS
from services.kernel.phones import mask_number, texts_for
from services.kernel.visibility import sees_every_number
from services.leads.domain.pool import Cause, PoolRules
from services.leads.domain.push import LeftOut, PushRule
from services.leads.domain.stages import Stage, weighted
from services.leads.domain.states import LeadState, OpportunityState, lead_actions, opportunity_actions
from services.leads.store.pools import shown_pool_id
from services.leads.store.queries import (
    OpenGroup,
    opportunities_of,
)
from services.leads.store.tables import (
    CaptureSource,
    Lead,
    LeadChange,
    LeadPush,
    Opportunity,
    OpportunityChange,
    OwnershipChange,
)
from services.leads.usecases.fields import FIELDS, FieldObject

LEAD_STATES = {
    LeadState.UNASSIGNED: leads_pb2.LEAD_STATE_UNASSIGNED,
    LeadState.ASSIGNED: leads_pb2.LEAD_STATE_ASSIGNED,
    LeadState.FOLLOWING: leads_pb2.LEAD_STATE_FOLLOWING,
    LeadState.CONVERTED: leads_pb2.LEAD_STATE_CONVERTED,
    LeadState.INVALID: leads_pb2.LEAD_STATE_INVALID,
    LeadState.VOIDED: leads_pb2.LEAD_STATE_VOIDED,
}
CAUSES = {
    Cause.CREATE: leads_pb2.LEAD_OWNERSHIP_CAUSE_CREATE,
    Cause.ASSIGN: leads_pb2.LEAD_OWNERSHIP_CAUSE_ASSIGN,
    Cause.CLAIM: leads_pb2.LEAD_OWNERSHIP_CAUSE_CLAIM,
    Cause.RETURN: leads_pb2.LEAD_OWNERSHIP_CAUSE_RETURN,
    Cause.RECLAIM: leads_pb2.LEAD_OWNERSHIP_CAUSE_RECLAIM,
    Cause.RESTORE: leads_pb2.LEAD_OWNERSHIP_CAUSE_RESTORE,
    Cause.PUSH: leads_pb2.LEAD_OWNERSHIP_CAUSE_PUSH,
}
EXCLUSIONS = {
    LeftOut.DISABLED: leads_pb2.LEAD_PUSH_EXCLUSION_DISABLED,
    LeftOut.NO_RIGHT: leads_pb2.LEAD_PUSH_EXCLUSION_NO_RIGHT,
    LeftOut.ABSENT: leads_pb2.LEAD_PUSH_EXCLUSION_ABSENT,
    LeftOut.WAITING_FULL: leads_pb2.LEAD_PUSH_EXCLUSION_WAITING_FULL,
    LeftOut.CAP_REACHED: leads_pb2.LEAD_PUSH_EXCLUSION_CAP_REACHED,
    LeftOut.SHARE_TAKEN: leads_pb2.LEAD_PUSH_EXCLUSION_SHARE_TAKEN,
}
STATE_FILTERS = {message: state for state, message in LEAD_STATES.items()}
OPPORTUNITY_STATES = {
    OpportunityState.OPEN: leads_pb2.OPPORTUNITY_STATE_OPEN,
    OpportunityState.WON: leads_pb2.OPPORTUNITY_STATE_WON,
    OpportunityState.LOST: leads_pb2.OPPORTUNITY_STATE_LOST,
}
OPPORTUNITY_FILTERS = {message: state for state, message in OPPORTUNITY_STATES.items()}
# How orders' contract and orders' events name the same state.
ORDER_STATE_PREFIX = "ORDER_STATE_"


def lead_messages(tx: Transaction, leads: Sequence[Lead], caller: Caller) -> list[leads_pb2.Lead]:
    """Return leads with what became of them."""
    made = opportunities_of(tx, leads)
    return [lead_message(tx, lead, caller, made.get(lead.opportunity_id or "")) for lead in leads]


def number_shown(record: Lead | Opportunity, caller: Caller) -> bool:
    """Tell whether the caller may see a number, in its field or in what people typed about a record (F59)."""
    return record.owner_id == caller.person_id or sees_every_number(caller)


def lead_message(
    tx: Transaction, lead: Lead, caller: Caller, opportunity: Opportunity | None = None
) -> leads_pb2.Lead:
    """Return a lead as this caller may see it: the number only to its owner and to who may see all numbers."""
    owned = lead.owner_id is not None and lead.owner_id == caller.person_id
    plain = number_shown(lead, caller)
    locked = lead.lock_expire_time is not None and lead.lock_expire_time > tx.now
    state = LeadState(lead.state)
    fields = {
        definition.key: display_value(definition, lead.fields.get(definition.key), numbers_shown=plain)
        for definition in FIELDS.definitions(tx, FieldObject.LEAD)
    }
    message = leads_pb2.Lead(
        lead_id=lead.id,
        name=lead.name,
        company=lead.company,
        phone=show_number(lead.phone_key) if plain else mask_number(lead.phone),
        source=lead.source,
        note=lead.note,
        state=LEAD_STATES[state],
        owner_id=lead.owner_id or "",
        create_time=timestamp(lead.create_time),
        version=lead.version,
        customer_id=lead.customer_id or "",
        allowed_actions=lead_actions(
            state,
            rights=caller.rights,
            owned=owned,
            converting=lead.conversion_id is not None,
            locked=locked,
        ),
        last_follow_time=timestamp(lead.last_follow_time) if lead.last_follow_time else None,
        lock_expire_time=timestamp(lead.lock_expire_time) if locked and lead.lock_expire_time else None,
        opportunity_id=opportunity.id if opportunity else "",
        opportunity_state=OPPORTUNITY_STATES[OpportunityState(opportunity.state)]
        if opportunity
        else leads_pb2.OPPORTUNITY_STATE_UNSPECIFIED,
        order_state=order_state_number(opportunity.order_state if opportunity else ""),
        fields=[leads_pb2.FieldValue(key=key, value=text) for key, text in fields.items() if text],
        pool_id=shown_pool_id(lead.tenant_id, lead.pool_id),
    )
    return texts_for(message, may_see=plain)


def ownership_message(change: OwnershipChange) -> leads_pb2.LeadOwnershipChange:
    """Return a row of the ledger."""
    return leads_pb2.LeadOwnershipChange(
        from_owner_id=change.from_owner_id or "",
        to_owner_id=change.to_owner_id or "",
        cause=CAUSES[Cause(change.cause)],
        actor_id=change.actor_id or "",
        reason=change.reason,
        create_time=timestamp(change.create_time),
    )


def settings_message(rules: PoolRules) -> leads_pb2.LeadSettings:
    """Return the rules of the lead pool."""
    return leads_pb2.LeadSettings(
        owner_cap=rules.owner_cap,
        daily_claims=rules.daily_claims,
        idle_days=rules.reclaim.idle_days,
        warn_days=rules.reclaim.warn_days,
        captures_per_minute=rules.captures_per_minute,
    )


def push_rule_message(rule: PushRule) -> leads_pb2.LeadPushRule:
    """Return the rule of pushes."""
    return leads_pb2.LeadPushRule(
        times=rule.times,
        person_ids=rule.person_ids,
        per_push=rule.per_push,
        most_waiting=rule.most_waiting,
    )


def push_message(made: LeadPush) -> leads_pb2.LeadPush:
    """Return what a push did."""
    people = sorted({*made.given, *made.left_out}, key=lambda person: (-made.given.get(person, 0), person))
    return leads_pb2.LeadPush(
        set_time=timestamp(made.set_time),
        finish_time=timestamp(made.finish_time) if made.finish_time else None,
        shares=[
            leads_pb2.LeadPushShare(
                person_id=person,
                count=made.given.get(person, 0),
                exclusion=EXCLUSIONS[LeftOut(made.left_out[person])]
                if person in made.left_out
                else leads_pb2.LEAD_PUSH_EXCLUSION_UNSPECIFIED,
            )
            for person in people
        ],
        remaining=made.remaining,
    )


def source_message(source: CaptureSource) -> leads_pb2.CaptureSource:
    """Return a registered source, without its secret."""
    return leads_pb2.CaptureSource(
        name=source.name,
        create_time=timestamp(source.create_time),
        pool_id=shown_pool_id(source.tenant_id, source.pool_id),
        end_time=timestamp(source.end_time),
    )


def order_state_number(text: str) -> orders_pb2.OrderState.ValueType:
    """Return an order's state as the contract has it; one that is not known here is none."""
    return dict(orders_pb2.OrderState.items()).get(
        ORDER_STATE_PREFIX + text.upper(), orders_pb2.ORDER_STATE_UNSPECIFIED
    )


def order_state_text(number: orders_pb2.OrderState.ValueType) -> str:
    """Return an order's state as orders' events name it; "" for none."""
    if number not in orders_pb2.OrderState.values() or not number:
        return ""
    return orders_pb2.OrderState.Name(number).removeprefix(ORDER_STATE_PREFIX).lower()


def parse_idle_days(days: int) -> int:
    """Return the days of a filter; raises InvalidInput IDLE_DAYS_OUT_OF_RANGE."""
    if not 0 <= days <= LONGEST_IDLE_DAYS:
        raise InvalidInput(
            "idle_days",
            "IDLE_DAYS_OUT_OF_RANGE",
            "未跟进天数应在 0 到 {most} 之间",
            "idle_days is 0 to {most}",
            most=LONGEST_IDLE_DAYS,
        )
    return days


def change_message(change: LeadChange, shown: bool) -> leads_pb2.LeadChange:
    """Return a row of a lead's log. shown: whether the reader may see the lead's number."""
    message = leads_pb2.LeadChange(
        from_state=LEAD_STATES[LeadState(change.from_state)]
        if change.from_state
        else leads_pb2.LEAD_STATE_UNSPECIFIED,
        to_state=LEAD_STATES[LeadState(change.to_state)],
        actor_id=change.actor_id or "",
        text=change.text,
        create_time=timestamp(change.create_time),
    )
    return texts_for(message, may_see=shown)


def opportunity_message(
    opportunity: Opportunity, caller: Caller, first_stage_id: str
) -> leads_pb2.Opportunity:
    """Return an opportunity as this caller may see it.

    first_stage_id: where one is that was made before there were stages.
    """
    state = OpportunityState(opportunity.state)
    owned = opportunity.owner_id == caller.person_id
    message = leads_pb2.Opportunity(
        opportunity_id=opportunity.id,
        name=opportunity.name,
        customer_id=opportunity.customer_id,
        owner_id=opportunity.owner_id,
        amount=format_amount(opportunity.amount),
        state=OPPORTUNITY_STATES[state],
        create_time=timestamp(opportunity.create_time),
        version=opportunity.version,
        customer_name=opportunity.customer_name,
        order_id=opportunity.order_id or "",
        order_state=order_state_number(opportunity.order_state),
        stage_id=opportunity.stage_id or first_stage_id,
        stage_time=timestamp(opportunity.stage_time or opportunity.create_time),
        needs=opportunity.needs,
        competitors=opportunity.competitors,
        expected_close_date=opportunity.expected_close_date.isoformat()
        if opportunity.expected_close_date
        else "",
        lose_reason=opportunity.lose_reason,
        allowed_actions=opportunity_actions(state, rights=caller.rights, owned=owned),
    )
    return texts_for(message, may_see=number_shown(opportunity, caller))


def opportunity_change_message(change: OpportunityChange, shown: bool) -> leads_pb2.OpportunityChange:
    """Return a row of an opportunity's log. shown: whether the reader may see the numbers in it."""
    message = leads_pb2.OpportunityChange(
        action=change.action,
        from_stage_id=change.from_stage_id or "",
        to_stage_id=change.to_stage_id,
        actor_id=change.actor_id or "",
        text=change.text,
        create_time=timestamp(change.create_time),
    )
    return texts_for(message, may_see=shown)


def stage_message(stage: Stage) -> leads_pb2.OpportunityStage:
    """Return a stage."""
    return leads_pb2.OpportunityStage(stage_id=stage.id, name=stage.name, probability=stage.probability)


def report_message(
    stages: Sequence[Stage], groups: Sequence[OpenGroup], average: Mapping[str, int]
) -> leads_pb2.ReportOpportunitiesResponse:
    """Return forecast and stages of what is open (F79, F80)."""
    probabilities = {stage.id: stage.probability for stage in stages}
    zero = Decimal("0.00")
    answer = leads_pb2.ReportOpportunitiesResponse()
    # Without a month last.
    for month in sorted({group.month for group in groups}, key=lambda month: month or "~"):
        chosen = [group for group in groups if group.month == month]
        forecast = (
            weighted(group.amount, probabilities.get(group.stage_id or stages[0].id, 0)) for group in chosen
        )
        answer.forecast.add(
            month=month,
            count=sum(group.count for group in chosen),
            amount=format_amount(sum((group.amount for group in chosen), zero)),
            weighted=format_amount(sum(forecast, zero)),
        )
    for stage in stages:
        chosen = [group for group in groups if (group.stage_id or stages[0].id) == stage.id]
        answer.stages.add(
            stage=stage_message(stage),
            count=sum(group.count for group in chosen),
            amount=format_amount(sum((group.amount for group in chosen), zero)),
            average_seconds=average.get(stage.id, 0),
        )
    return answer
