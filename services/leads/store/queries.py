"""Reads and locks of leads, opportunities and conversions; every one within the transaction's tenant."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import parse_id
from services.chassis.tokens import Caller
from services.kernel.visibility import visible
from services.leads.domain.states import LeadState, OpportunityState
from services.leads.store.tables import Conversion, Lead, LeadChange, Opportunity


def find_lead(tx: Transaction, caller: Caller, lead_id: str, *, lock: bool = False) -> Lead:
    """Return a lead that the caller sees, locked if asked; raises NotFound LEAD_NOT_FOUND."""
    lead_id = parse_id(lead_id, "lead_id")
    query = select(Lead).where(Lead.tenant_id == tx.tenant.id, Lead.id == lead_id, _lead_visible(caller))
    lead = tx.session.scalar(query.with_for_update() if lock else query)
    if lead is None:
        raise not_found("lead", "线索", lead_id)
    return lead


def list_leads(
    tx: Transaction, caller: Caller, state: LeadState | None, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Lead]:
    """Return leads that the caller sees, newest first, from behind `after` on."""
    query = (
        select(Lead)
        .where(Lead.tenant_id == tx.tenant.id, _lead_visible(caller), *_after(Lead, after))
        .order_by(Lead.create_time.desc(), Lead.id.desc())
        .limit(limit)
    )
    if state:
        query = query.where(Lead.state == state)
    return tx.session.scalars(query).all()


def lead_changes(tx: Transaction, lead_id: str) -> Sequence[LeadChange]:
    """Return a lead's log, newest first."""
    return tx.session.scalars(
        select(LeadChange)
        .where(LeadChange.tenant_id == tx.tenant.id, LeadChange.lead_id == lead_id)
        .order_by(LeadChange.id.desc())
    ).all()


def captured_lead(tx: Transaction, source: str, source_key: str) -> Lead:
    """Return the lead that was captured under a source's own id; raises NoResultFound."""
    return tx.session.scalars(
        select(Lead).where(
            Lead.tenant_id == tx.tenant.id, Lead.source == source, Lead.source_key == source_key
        )
    ).one()


def lock_opportunity(tx: Transaction, caller: Caller, opportunity_id: str) -> Opportunity:
    """Lock and return an opportunity that the caller sees; raises NotFound OPPORTUNITY_NOT_FOUND."""
    opportunity_id = parse_id(opportunity_id, "opportunity_id")
    opportunity = tx.session.scalar(
        select(Opportunity)
        .where(
            Opportunity.tenant_id == tx.tenant.id,
            Opportunity.id == opportunity_id,
            _opportunity_visible(caller),
        )
        .with_for_update()
    )
    if opportunity is None:
        raise not_found("opportunity", "商机", opportunity_id)
    return opportunity


def list_opportunities(
    tx: Transaction, caller: Caller, customer_id: str, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Opportunity]:
    """Return opportunities that the caller sees, newest first; of one customer unless that is ""."""
    query = (
        select(Opportunity)
        .where(
            Opportunity.tenant_id == tx.tenant.id, _opportunity_visible(caller), *_after(Opportunity, after)
        )
        .order_by(Opportunity.create_time.desc(), Opportunity.id.desc())
        .limit(limit)
    )
    if customer_id:
        query = query.where(Opportunity.customer_id == parse_id(customer_id, "customer_id"))
    return tx.session.scalars(query).all()


def find_conversion(tx: Transaction, conversion_id: str, *, lock: bool = False) -> tuple[Lead, Conversion]:
    """Return a conversion behind its lead, both locked if asked, the lead first; raises NoResultFound."""
    conversions = select(Conversion).where(
        Conversion.tenant_id == tx.tenant.id, Conversion.id == conversion_id
    )
    leads = select(Lead).where(
        Lead.tenant_id == tx.tenant.id,
        Lead.id == conversions.with_only_columns(Conversion.lead_id).scalar_subquery(),
    )
    if lock:
        conversions, leads = conversions.with_for_update(), leads.with_for_update()
    return tx.session.scalars(leads).one(), tx.session.scalars(conversions).one()


def _lead_visible(caller: Caller) -> ColumnElement[bool]:
    """Nobody owns a lead of the pool: whoever may assign leads sees it."""
    seen = visible(caller, Lead.owner_id, Lead.owner_department_path)
    return or_(seen, Lead.state == LeadState.UNASSIGNED) if "leads.assign" in caller.rights else seen


def _opportunity_visible(caller: Caller) -> ColumnElement[bool]:
    """What a conversion still holds is not there yet."""
    return and_(
        visible(caller, Opportunity.owner_id, Opportunity.owner_department_path),
        Opportunity.state != OpportunityState.CONVERTING,
    )


def _after(
    table: type[Lead] | type[Opportunity], cursor: tuple[datetime, str] | None
) -> list[ColumnElement[bool]]:
    time: InstrumentedAttribute[datetime] = table.create_time
    return [tuple_(time, table.id) < cursor] if cursor else []
