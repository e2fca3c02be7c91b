"""Reads and locks of leads, opportunities and conversions; every one within the transaction's tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import parse_id
from services.chassis.numbers import A_NUMBER
from services.chassis.paging import cut_page
from services.chassis.tokens import Caller
from services.kernel.china_time import CHINA
from services.kernel.fields import FieldDefinition, FieldType
from services.kernel.filters import Context, Kind
from services.kernel.listing import LEAST, RecordList
from services.kernel.ownership import SHORTEST_WARNING
from services.kernel.visibility import sees_every_number, visible
from services.leads.domain.states import OWNED_STATES, LeadState, OpportunityState
from services.leads.store.pools import in_own_pool, stored_pool_id
from services.leads.store.tables import (
    Conversion,
    Lead,
    LeadChange,
    Opportunity,
    OpportunityChange,
    OwnershipChange,
)

# Rows of an opportunity's log with which it enters a stage.
ENTRIES = ("created", "move")


def find_lead(tx: Transaction, caller: Caller, lead_id: str, *, lock: bool = False) -> Lead:
    """Return a lead that the caller sees, locked if asked; raises NotFound LEAD_NOT_FOUND."""
    lead_id = parse_id(lead_id, "lead_id")
    query = select(Lead).where(Lead.tenant_id == tx.tenant.id, Lead.id == lead_id, _lead_visible(tx, caller))
    lead = tx.session.scalar(query.with_for_update() if lock else query)
    if lead is None:
        raise not_found("lead", "线索", lead_id)
    return lead


# Leads of one number in an answer, and the states of those that may still become customers.
MOST_OF_A_NUMBER = 10
ALIVE = tuple(state.value for state in (*OWNED_STATES, LeadState.UNASSIGNED))


def leads_of_number(tx: Transaction, e164: str) -> Sequence[Lead]:
    """Return the leads that are alive and have this number, the latest first, at most 10."""
    query = (
        select(Lead)
        .where(Lead.tenant_id == tx.tenant.id, Lead.phone == e164, Lead.phone != "", Lead.state.in_(ALIVE))
        .order_by(Lead.create_time.desc(), Lead.id)
    )
    return tx.session.scalars(query.limit(MOST_OF_A_NUMBER)).all()


@dataclass(frozen=True)
class LeadFilter:
    """Which leads a list shows (F133); everything that is left out shows all.

    followed: whether it was ever followed up. idle_days: without a follow-up for at least so many. order_state: as
    orders names it.
    """

    state: LeadState | None = None
    owner_id: str = ""
    followed: bool | None = None
    idle_days: int = 0
    opportunity_state: OpportunityState | None = None
    order_state: str = ""
    # In the filter language, and an order, both with the tenant's own fields as custom.key.
    filter: str = ""
    order_by: str = ""
    # "" for every pool.
    pool_id: str = ""


LEADS = RecordList(
    id=Lead.id,
    document=Lead.fields,
    built_in={
        "name": (Kind.TEXT, Lead.name),
        "company": (Kind.TEXT, Lead.company),
        "source": (Kind.TEXT, Lead.source),
        "note": (Kind.TEXT, Lead.note),
        "state": (Kind.CHOICE, Lead.state),
        "owner_id": (Kind.ID, Lead.owner_id),
        "create_time": (Kind.TIME, Lead.create_time),
        "last_follow_time": (Kind.TIME, Lead.last_follow_time),
    },
    sorted_by={
        "create_time": (Lead.create_time, datetime),
        "name": (func.regexp_replace(Lead.name, A_NUMBER, "*", "g"), str),
        "last_follow_time": (func.coalesce(Lead.last_follow_time, LEAST[FieldType.DATETIME]), datetime),
    },
    first="-create_time",
)


def list_leads(
    tx: Transaction,
    caller: Caller,
    wanted: LeadFilter,
    fields: Sequence[FieldDefinition],
    page_token: str,
    size: int,
) -> tuple[Sequence[Lead], str]:
    """Return a page of leads that the caller sees, and the token of the next one, "" on the last.

    fields: the tenant's own. Raises InvalidInput below `filter`, ORDER_UNKNOWN and PAGE_TOKEN_INVALID.
    """
    order = LEADS.sorting(wanted.order_by, fields)
    shown = sees_every_number(caller)
    query = (
        select(Lead, order.expression)
        .where(
            Lead.tenant_id == tx.tenant.id,
            _lead_visible(tx, caller),
            LEADS.condition(
                wanted.filter,
                fields,
                Context(tx.now, caller.person_id),
                numbers_shown=shown,
                shown=None if shown else Lead.owner_id == (caller.person_id or None),
            ),
        )
        .order_by(*order.clauses)
        .limit(size + 1)
    )
    after = order.after(page_token)
    if after is not None:
        query = query.where(after)
    if wanted.pool_id:
        query = query.where(Lead.pool_id.is_not_distinct_from(stored_pool_id(tx, wanted.pool_id)))
    if wanted.state:
        query = query.where(Lead.state == wanted.state)
    if wanted.owner_id:
        query = query.where(Lead.owner_id == wanted.owner_id)
    if wanted.followed is not None:
        query = query.where(Lead.last_follow_time.is_not(None) == wanted.followed)
    if wanted.idle_days:
        since = tx.now - timedelta(days=wanted.idle_days)
        query = query.where(func.coalesce(Lead.last_follow_time, Lead.create_time) <= since)
    if wanted.opportunity_state or wanted.order_state:
        query = query.join(
            Opportunity,
            and_(Opportunity.tenant_id == tx.tenant.id, Opportunity.id == Lead.opportunity_id),
        )
        if wanted.opportunity_state:
            query = query.where(Opportunity.state == wanted.opportunity_state)
        if wanted.order_state:
            query = query.where(Opportunity.order_state == wanted.order_state)
    page, more = cut_page(tx.session.execute(query).all(), size)
    return [row[0] for row in page], order.token(page[-1][1], page[-1][0].id) if more else ""


def opportunities_of(tx: Transaction, leads: Sequence[Lead]) -> dict[str, Opportunity]:
    """Return the opportunities that these leads' conversions made, by id."""
    ids = [lead.opportunity_id for lead in leads if lead.opportunity_id]
    if not ids:
        return {}
    rows = tx.session.scalars(
        select(Opportunity).where(Opportunity.tenant_id == tx.tenant.id, Opportunity.id.in_(ids))
    )
    return {row.id: row for row in rows}


def ownership_changes(tx: Transaction, lead_id: str) -> Sequence[OwnershipChange]:
    """Return the ledger of a lead's owners, newest first."""
    return tx.session.scalars(
        select(OwnershipChange)
        .where(OwnershipChange.tenant_id == tx.tenant.id, OwnershipChange.lead_id == lead_id)
        .order_by(OwnershipChange.id.desc())
    ).all()


def locked_count(tx: Transaction, person_id: str, but: str) -> int:
    """Count the leads that a person keeps locked now, but for one."""
    query = select(func.count()).where(
        Lead.tenant_id == tx.tenant.id,
        Lead.owner_id == person_id,
        Lead.id != but,
        Lead.lock_expire_time > tx.now,
    )
    return tx.session.scalar(query) or 0


def neglected(
    tx: Transaction, pool_id: str | None, evidence_before: datetime, limit: int, *, warned: bool
) -> Sequence[Lead]:
    """Lock leads without evidence since a time that fall back into this pool, longest neglected first.

    warned: those whose owner was warned at least a day ago, instead of those whose owner was not. A lead that is locked
    by its owner, held by a conversion or worked on at the moment is left out: every exemption stands in the predicate
    under which the row is locked.
    """
    return tx.session.scalars(
        select(Lead)
        .where(
            Lead.tenant_id == tx.tenant.id,
            Lead.owner_id.is_not(None),
            Lead.pool_id.is_not_distinct_from(pool_id),
            Lead.state.in_(OWNED_STATES),
            Lead.conversion_id.is_(None),
            Lead.evidence_time <= evidence_before,
            Lead.warned_time <= tx.now - SHORTEST_WARNING if warned else Lead.warned_time.is_(None),
            or_(Lead.lock_expire_time.is_(None), Lead.lock_expire_time <= tx.now),
        )
        .order_by(Lead.evidence_time)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


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


@dataclass(frozen=True)
class OpportunityFilter:
    """Which opportunities a list shows. overdue: only open ones whose expected day is over."""

    customer_id: str = ""
    state: OpportunityState | None = None
    overdue: bool = False


def find_opportunity(tx: Transaction, caller: Caller, opportunity_id: str) -> Opportunity:
    """Return an opportunity that the caller sees; raises NotFound OPPORTUNITY_NOT_FOUND."""
    opportunity_id = parse_id(opportunity_id, "opportunity_id")
    opportunity = tx.session.scalar(
        select(Opportunity).where(
            Opportunity.tenant_id == tx.tenant.id,
            Opportunity.id == opportunity_id,
            _opportunity_visible(caller),
        )
    )
    if opportunity is None:
        raise not_found("opportunity", "商机", opportunity_id)
    return opportunity


def opportunity_changes(tx: Transaction, opportunity_id: str) -> Sequence[OpportunityChange]:
    """Return an opportunity's log, oldest first."""
    return tx.session.scalars(
        select(OpportunityChange)
        .where(
            OpportunityChange.tenant_id == tx.tenant.id, OpportunityChange.opportunity_id == opportunity_id
        )
        .order_by(OpportunityChange.id)
    ).all()


@dataclass(frozen=True)
class OpenGroup:
    """Open opportunities of a month and a stage. month: as 2026-03, "" for none; stage_id: None for the first."""

    month: str
    stage_id: str | None
    count: int
    amount: Decimal


def open_groups(tx: Transaction, caller: Caller) -> Sequence[OpenGroup]:
    """Return the open opportunities that the caller sees, by month of the expected day and by stage."""
    month = func.coalesce(func.to_char(Opportunity.expected_close_date, "YYYY-MM"), "")
    rows = tx.session.execute(
        select(month, Opportunity.stage_id, func.count(), func.sum(Opportunity.amount))
        .where(
            Opportunity.tenant_id == tx.tenant.id,
            _opportunity_visible(caller),
            Opportunity.state == OpportunityState.OPEN,
        )
        .group_by(month, Opportunity.stage_id)
    )
    return [OpenGroup(*row) for row in rows]


def average_stays(tx: Transaction, caller: Caller) -> dict[str, int]:
    """Return how many seconds opportunities that the caller sees stayed in each stage that they left (F79)."""
    entered = OpportunityChange.create_time
    left = func.coalesce(
        func.lead(entered).over(partition_by=OpportunityChange.opportunity_id, order_by=OpportunityChange.id),
        Opportunity.close_time,
    )
    entries = (
        select(OpportunityChange.to_stage_id.label("stage_id"), (left - entered).label("stay"))
        .join(Opportunity, Opportunity.id == OpportunityChange.opportunity_id)
        .where(
            OpportunityChange.tenant_id == tx.tenant.id,
            OpportunityChange.action.in_(ENTRIES),
            _opportunity_visible(caller),
        )
        .subquery()
    )
    rows = tx.session.execute(
        select(entries.c.stage_id, func.avg(func.extract("epoch", entries.c.stay)))
        .where(entries.c.stay.is_not(None))
        .group_by(entries.c.stage_id)
    )
    return {stage_id: int(seconds) for stage_id, seconds in rows}


def list_opportunities(
    tx: Transaction,
    caller: Caller,
    wanted: OpportunityFilter,
    after: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[Opportunity]:
    """Return opportunities that the caller sees, newest first."""
    query = (
        select(Opportunity)
        .where(Opportunity.tenant_id == tx.tenant.id, _opportunity_visible(caller), *_after(after))
        .order_by(Opportunity.create_time.desc(), Opportunity.id.desc())
        .limit(limit)
    )
    if wanted.customer_id:
        query = query.where(Opportunity.customer_id == parse_id(wanted.customer_id, "customer_id"))
    if wanted.state:
        query = query.where(Opportunity.state == wanted.state)
    if wanted.overdue:
        query = query.where(
            Opportunity.state == OpportunityState.OPEN,
            Opportunity.expected_close_date < tx.now.astimezone(CHINA).date(),
        )
    return tx.session.scalars(query).all()


def conversion_row(tx: Transaction, conversion_id: str) -> Conversion:
    """Return a conversion as it stands; raises NoResultFound."""
    return tx.session.scalars(
        select(Conversion).where(Conversion.tenant_id == tx.tenant.id, Conversion.id == conversion_id)
    ).one()


def find_conversion(tx: Transaction, conversion_id: str, *, lock: bool = False) -> tuple[Lead, Conversion]:
    """Return a conversion behind its lead, both locked if asked, the lead first; raises NoResultFound."""
    conversions = select(Conversion).where(
        Conversion.tenant_id == tx.tenant.id, Conversion.id == conversion_id
    )
    if not lock:
        both = conversions.join(Lead, Lead.id == Conversion.lead_id).with_only_columns(Lead, Conversion)
        row = tx.session.execute(both.where(Lead.tenant_id == tx.tenant.id)).one()
        return row[0], row[1]
    leads = select(Lead).where(
        Lead.tenant_id == tx.tenant.id,
        Lead.id == conversions.with_only_columns(Conversion.lead_id).scalar_subquery(),
    )
    # One after the other: within one statement nobody promises the order.
    lead = tx.session.scalars(leads.with_for_update()).one()
    return lead, tx.session.scalars(conversions.with_for_update()).one()


def _lead_visible(tx: Transaction, caller: Caller) -> ColumnElement[bool]:
    """Nobody owns a lead of the pool: a member who may assign or claim leads sees it."""
    seen = visible(caller, Lead.owner_id, Lead.owner_department_path)
    takes = {"leads.assign", "leads.claim"} & caller.rights
    return or_(seen, and_(Lead.state == LeadState.UNASSIGNED, in_own_pool(tx, caller))) if takes else seen


def _opportunity_visible(caller: Caller) -> ColumnElement[bool]:
    """What a conversion still holds is not there yet."""
    return and_(
        visible(caller, Opportunity.owner_id, Opportunity.owner_department_path),
        Opportunity.state != OpportunityState.CONVERTING,
    )


def _after(cursor: tuple[datetime, str] | None) -> list[ColumnElement[bool]]:
    return [tuple_(Opportunity.create_time, Opportunity.id) < cursor] if cursor else []
