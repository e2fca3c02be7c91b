"""The parts of a conversion that happen in leads' own store; each may be repeated and then changes nothing."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Forbidden
from services.chassis.ids import derive_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.money import parse_amount
from services.kernel.texts import parse_text
from services.leads.domain.conversion import ConversionState
from services.leads.domain.states import LeadAction, LeadState, OpportunityState, next_lead_state
from services.leads.store.moves import CONVERSIONS, LEADS, MOVED
from services.leads.store.queries import find_conversion, find_lead
from services.leads.store.tables import Conversion, Lead, Opportunity
from services.leads.usecases.leads import Person, move_lead, refuse_converting, require_owner
from services.leads.usecases.opportunities import enter_first_stage

RIGHT = "leads.convert"


@dataclass(frozen=True)
class OpportunityInput:
    """The opportunity that a conversion makes, as typed; amount: CNY."""

    name: str
    amount: str


def conversion_id(lead_id: str, request_id: str) -> str:
    """Return the id of the conversion that this request asks for."""
    return derive_id("conversion", lead_id, request_id)


def new_customer_id(conversion: str) -> str:
    """Return the id that the customer of a conversion gets unless it links to one."""
    return derive_id(conversion, "customer")


def reservation_id(conversion: Conversion) -> str:
    """Return the id of the key reservation of a conversion's last plan."""
    return derive_id(conversion.id, "reservation", str(conversion.round))


def request_conversion(
    tx: Transaction,
    caller: Caller,
    lead_id: str,
    request_id: str,
    *,
    customer_name: str,
    create_contact: bool,
    opportunity: OpportunityInput | None,
    chosen_customer_id: str = "",
) -> Conversion:
    """Check and note down what a conversion shall make; the lead is not touched yet.

    customer_name: "" takes the lead's company, or else its name. chosen_customer_id: of several of that name. Raises
    InvalidInput naming the field (F130), NotFound LEAD_NOT_FOUND, Forbidden LEAD_NOT_OWNED, RuleViolation LEAD_STATE or
    LEAD_CONVERTING.
    """
    wanted_name = parse_text(customer_name, "customer_name", 200, required=False)
    opportunity_name = parse_text(opportunity.name, "opportunity.name", 200) if opportunity else ""
    amount = parse_amount(opportunity.amount, "opportunity.amount") if opportunity else None
    lead = find_lead(tx, caller, lead_id)
    _check(lead, caller.person_id)
    new = conversion_id(lead.id, request_id)
    conversion = Conversion(
        id=new,
        tenant_id=tx.tenant.id,
        lead_id=lead.id,
        actor_id=caller.person_id,
        actor_name="",
        customer_name=wanted_name or lead.company or lead.name,
        chosen_customer_id=parse_id(chosen_customer_id, "customer_id") if chosen_customer_id else None,
        opportunity_name=opportunity_name,
        amount=amount,
        state=ConversionState.REQUESTED,
        customer_id=new_customer_id(new),
        linked=False,
        contact_id=derive_id(new, "contact") if create_contact else None,
        opportunity_id=derive_id(new, "opportunity") if opportunity else None,
        round=0,
        refusal=None,
        create_time=tx.now,
        finish_time=None,
    )
    tx.session.add(conversion)
    tx.session.flush()
    # Merged while somebody chose it: its rows went to the survivor before this one was there.
    chosen = conversion.chosen_customer_id
    if chosen and MOVED.adopt(tx, conversion.id, chosen, CONVERSIONS):
        tx.session.refresh(conversion)
    return conversion


def begin_conversion(tx: Transaction, conversion: str, actor: Person) -> bool:
    """Take the lead for this conversion: from now on nothing else changes it.

    actor: as identity describes the person now. Returns whether it goes on: false when it has come to its end already.
    Raises Forbidden RIGHT_MISSING or LEAD_NOT_OWNED, RuleViolation LEAD_STATE or LEAD_CONVERTING.
    """
    lead, row = find_conversion(tx, conversion, lock=True)
    if row.state != ConversionState.REQUESTED:
        return row.state == ConversionState.OPEN
    if not actor.active or RIGHT not in actor.rights:
        raise right_missing(RIGHT)
    _check(lead, row.actor_id)
    lead.conversion_id = row.id
    row.state = ConversionState.OPEN
    row.actor_name = actor.name
    return True


def plan_conversion(tx: Transaction, conversion: str, number: int, linked_customer_id: str) -> None:
    """Fix the customer of this round and take the opportunity's name under it.

    number: of the round, from 1. linked_customer_id: "" for a new customer. Raises AlreadyExists OPPORTUNITY_EXISTS
    when the customer has an opportunity of this name (F131).
    """
    # Held until this is committed, and before the rows: whoever merges the customer locks in the same order.
    linked_customer_id = linked_customer_id and MOVED.current(tx, linked_customer_id, hold=True)
    lead, row = find_conversion(tx, conversion, lock=True)
    if row.state != ConversionState.OPEN or row.round >= number:
        return
    planned_before = row.round > 0
    row.round = number
    row.linked = bool(linked_customer_id)
    row.customer_id = linked_customer_id or new_customer_id(row.id)
    if not row.opportunity_id:
        return
    if planned_before:
        _drop_opportunity(tx, row)
    added = tx.session.scalar(
        insert(Opportunity)
        .values(
            id=row.opportunity_id,
            tenant_id=tx.tenant.id,
            customer_id=row.customer_id,
            customer_name=row.customer_name,
            name=row.opportunity_name,
            owner_id=row.actor_id,
            owner_department_path=lead.owner_department_path,
            amount=row.amount,
            state=OpportunityState.CONVERTING,
            create_time=tx.now,
            version=1,
        )
        .on_conflict_do_nothing()
        .returning(Opportunity.id)
    )
    if added is None:
        raise AlreadyExists(
            "OPPORTUNITY_EXISTS",
            "该客户下已有同名商机“{name}”",
            "This customer has an opportunity “{name}” already",
            name=row.opportunity_name,
        )


def finish_conversion(tx: Transaction, conversion: str) -> None:
    """Make the conversion true: lead, opportunity, log and event at once; nothing can refuse it any more.

    A customer that was merged meanwhile is the survivor by now, and the undo of that merge takes the lead along.
    """
    planned = select(Conversion.customer_id).where(
        Conversion.tenant_id == tx.tenant.id, Conversion.id == conversion
    )
    # Before the rows: see `plan_conversion`.
    MOVED.current(tx, tx.session.scalars(planned).one(), hold=True)
    lead, row = find_conversion(tx, conversion, lock=True)
    if row.state != ConversionState.OPEN:
        return
    if row.opportunity_id:
        opportunity = tx.session.get_one(Opportunity, row.opportunity_id)
        opportunity.state = OpportunityState.OPEN
        enter_first_stage(tx, opportunity)
    row.state, row.finish_time = ConversionState.DONE, tx.now
    lead.customer_id, lead.opportunity_id, lead.conversion_id = row.customer_id, row.opportunity_id, None
    move_lead(tx, lead, LeadState.CONVERTED, "")
    tx.session.flush()
    if MOVED.adopt(tx, lead.id, row.customer_id, LEADS):
        tx.session.refresh(lead)
    tx.emit(
        "lead_converted",
        lead.id,
        lead.version,
        {
            "leadId": lead.id,
            "customerId": lead.customer_id,
            "contactId": row.contact_id or "",
            "opportunityId": row.opportunity_id or "",
        },
    )


def abort_conversion(tx: Transaction, conversion: str, refusal: dict[str, Any]) -> None:
    """Leave the lead as it was before and keep the refusal for a repeat of the request."""
    lead, row = find_conversion(tx, conversion, lock=True)
    if row.state not in (ConversionState.REQUESTED, ConversionState.OPEN):
        return
    _drop_opportunity(tx, row)
    if lead.conversion_id == row.id:
        lead.conversion_id = None
    row.state, row.refusal, row.finish_time = ConversionState.REFUSED, refusal, tx.now


def right_missing(right: str) -> Forbidden:
    """Return the refusal for whoever lacks a right."""
    return Forbidden(
        "RIGHT_MISSING",
        "您没有该操作的权限（{right}）",
        "You lack the right for this ({right})",
        right=right,
    )


def _check(lead: Lead, person_id: str) -> None:
    require_owner(lead, person_id)
    refuse_converting(lead)
    next_lead_state(LeadState(lead.state), LeadAction.CONVERT)


def _drop_opportunity(tx: Transaction, row: Conversion) -> None:
    tx.session.execute(
        delete(Opportunity).where(
            Opportunity.id == row.opportunity_id, Opportunity.state == OpportunityState.CONVERTING
        )
    )
