"""What becomes of a lead before it is converted: captured, created, assigned, followed up."""

from dataclasses import dataclass

from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import Forbidden, RuleViolation
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.kernel.phones import parse_phone
from services.kernel.texts import parse_text
from services.leads.domain.states import LeadAction, LeadState, next_lead_state
from services.leads.store.queries import captured_lead, find_lead
from services.leads.store.tables import Lead, LeadChange


@dataclass(frozen=True)
class Person:
    """A member of staff as identity describes one."""

    person_id: str
    name: str
    active: bool
    rights: frozenset[str]
    department_path: str


@dataclass(frozen=True)
class LeadInput:
    """What somebody typed about a lead; only the name is required."""

    name: str
    company: str
    phone: str
    note: str


def capture_lead(tx: Transaction, source: str, source_key: str, given: LeadInput) -> Lead:
    """Put a lead from outside into the pool; return the one that is there when this key came before (F114, F136)."""
    source, source_key = parse_text(source, "source", 50), parse_text(source_key, "source_key", 200)
    captured = (
        insert(Lead)
        .values(
            **_values(tx, given),
            source=source,
            source_key=source_key,
            state=LeadState.UNASSIGNED,
            owner_id=None,
            owner_department_path="",
        )
        .on_conflict_do_nothing()
        .returning(Lead)
    )
    lead = tx.session.scalars(captured).one_or_none()
    if lead is None:
        return captured_lead(tx, source, source_key)
    _log(tx, lead, None, "")
    return lead


def create_lead(tx: Transaction, caller: Caller, given: LeadInput) -> Lead:
    """Add a rep's own find: it is the rep's and waits to be handled (F117)."""
    lead = Lead(
        **_values(tx, given),
        source="",
        source_key=None,
        state=LeadState.ASSIGNED,
        owner_id=caller.person_id,
        owner_department_path=caller.department_path,
    )
    tx.session.add(lead)
    tx.session.flush()
    _log(tx, lead, None, "")
    return lead


def assign_lead(tx: Transaction, caller: Caller, lead_id: str, owner: Person) -> Lead:
    """Give a lead of the pool to a person (F116).

    Raises NotFound LEAD_NOT_FOUND, RuleViolation LEAD_STATE or OWNER_INACTIVE.
    """
    lead = find_lead(tx, caller, lead_id, lock=True)
    after = next_lead_state(LeadState(lead.state), LeadAction.ASSIGN)
    if not owner.active:
        raise RuleViolation(
            "OWNER_INACTIVE",
            "{name} 已停用，不能分配线索",
            "{name} is disabled and gets no leads",
            name=owner.name,
        )
    lead.owner_id, lead.owner_department_path = owner.person_id, owner.department_path
    move_lead(tx, lead, after, "")
    tx.emit(
        "lead_assigned",
        lead.id,
        lead.version,
        {"leadId": lead.id, "ownerId": owner.person_id, "name": lead.name},
    )
    return lead


def follow_lead(tx: Transaction, caller: Caller, lead_id: str, text: str) -> Lead:
    """Record what the owner did about a lead; the first time makes it followed up (F118).

    Raises NotFound LEAD_NOT_FOUND, Forbidden LEAD_NOT_OWNED, RuleViolation LEAD_STATE or LEAD_CONVERTING.
    """
    text = parse_text(text, "text", 4000)
    lead = find_lead(tx, caller, lead_id, lock=True)
    require_owner(lead, caller.person_id)
    refuse_converting(lead)
    after = next_lead_state(LeadState(lead.state), LeadAction.FOLLOW)
    move_lead(tx, lead, after, text)
    return lead


def require_owner(lead: Lead, person_id: str) -> None:
    """Raise Forbidden LEAD_NOT_OWNED unless the lead is this person's."""
    if lead.owner_id != person_id:
        raise Forbidden("LEAD_NOT_OWNED", "只有线索负责人可以操作", "Only the lead's owner may do this")


def refuse_converting(lead: Lead) -> None:
    """Raise RuleViolation LEAD_CONVERTING while a conversion holds the lead."""
    if lead.conversion_id:
        raise RuleViolation(
            "LEAD_CONVERTING", "线索正在转换中，请稍候", "The lead is being converted; wait a moment"
        )


def move_lead(tx: Transaction, lead: Lead, after: LeadState, text: str) -> None:
    """Set a locked lead's state and log it; text: of the follow-up, or empty."""
    before, lead.state = LeadState(lead.state), after
    lead.version += 1
    _log(tx, lead, before, text)


def _values(tx: Transaction, given: LeadInput) -> dict[str, object]:
    phone = parse_phone(given.phone, "phone") if given.phone.strip() else None
    return {
        "id": new_id(),
        "tenant_id": tx.tenant.id,
        "name": parse_text(given.name, "name", 100),
        "company": parse_text(given.company, "company", 200, required=False),
        "phone": phone.e164 if phone else "",
        "phone_key": phone.key if phone else "",
        "note": parse_text(given.note, "note", 4000, required=False),
        "create_time": tx.now,
        "version": 1,
    }


def _log(tx: Transaction, lead: Lead, before: LeadState | None, text: str) -> None:
    tx.session.add(
        LeadChange(
            tenant_id=tx.tenant.id,
            lead_id=lead.id,
            from_state=before or "",
            to_state=lead.state,
            actor_id=tx.actor_id or None,
            text=text,
            create_time=tx.now,
        )
    )
