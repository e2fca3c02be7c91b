"""What becomes of a lead before it is converted: made, owned, worked on, parked, voided."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import Conflict, Forbidden, RuleViolation
from services.chassis.ids import new_id
from services.chassis.numbers import hide_numbers
from services.chassis.tokens import Caller
from services.kernel.fields import parse_values
from services.kernel.ownership import check_lock
from services.kernel.phones import parse_phone
from services.kernel.texts import parse_text
from services.leads.domain.pool import Cause, pool_forbidden
from services.leads.domain.states import (
    OWNED_STATES,
    LeadAction,
    LeadState,
    lead_state_refused,
    next_lead_state,
)
from services.leads.store.ledger import Owner, gain, lock_owner, lose
from services.leads.store.pools import own_pools, stored_pool_id
from services.leads.store.queries import captured_lead, find_lead, locked_count
from services.leads.store.tables import Lead, LeadChange
from services.leads.usecases.fields import FIELDS, FieldObject

# Characters of a reason to return, park or void a lead.
LONGEST_REASON = 1000


@dataclass(frozen=True)
class Person:
    """A member of staff as identity describes one. roles: their codes; region_ids: of departments."""

    person_id: str
    name: str
    active: bool
    rights: frozenset[str]
    department_path: str
    roles: tuple[str, ...] = ()
    region_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeadInput:
    """What somebody typed about a lead; only the name is required.

    fields: the tenant's own by key, None for none. pool_id: where it falls back, "" for the tenant's own.
    """

    name: str
    company: str
    phone: str
    note: str
    fields: Mapping[str, str] | None = None
    pool_id: str = ""


def capture_lead(
    tx: Transaction, source: str, source_key: str, given: LeadInput, pool_id: str | None = None
) -> Lead:
    """Put a lead from outside into a pool; return the one that is there when this key came before (F114, F136).

    pool_id: as leads keep it.
    """
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
            pool_id=pool_id,
        )
        .on_conflict_do_nothing()
        .returning(Lead)
    )
    lead = tx.session.scalars(captured).one_or_none()
    if lead is None:
        return captured_lead(tx, source, source_key)
    _log(tx, lead, None, "")
    return lead


def create_lead(
    tx: Transaction, caller: Caller, given: LeadInput, field: str = "", *, whole: bool = True
) -> Lead:
    """Add a rep's own find: it is the rep's and waits to be handled (F117).

    field: what stands before the fields' names in the request. whole: the tenant's own fields that are required have to
    be there. Raises InvalidInput naming the field, AlreadyExists FIELD_VALUE_TAKEN, RuleViolation OWNER_CAP_REACHED,
    NotFound POOL_NOT_FOUND, Forbidden POOL_FORBIDDEN.
    """
    pool_id = stored_pool_id(tx, given.pool_id) if given.pool_id else None
    _require_member(tx, caller, pool_id)
    definitions = FIELDS.definitions(tx, FieldObject.LEAD)
    fields = parse_values(definitions, given.fields or {}, f"{field}fields", before=None if whole else {})
    lock_owner(tx, caller.person_id)
    lead = Lead(
        **_values(tx, given, field),
        fields=fields,
        source="",
        source_key=None,
        state=LeadState.UNASSIGNED,
        owner_id=None,
        owner_department_path="",
        pool_id=pool_id,
    )
    tx.session.add(lead)
    tx.session.flush()
    FIELDS.hold(tx, FieldObject.LEAD, lead.id, fields, path=f"{field}fields")
    gain(tx, lead, Owner(caller.person_id, caller.department_path), Cause.CREATE)
    lead.state = LeadState.ASSIGNED
    _log(tx, lead, None, "")
    return lead


def set_fields(
    tx: Transaction, caller: Caller, lead_id: str, version: int, fields: Mapping[str, str]
) -> Lead:
    """Fill in the tenant's own fields of an own lead; those that are not named stay.

    Raises NotFound LEAD_NOT_FOUND, Forbidden LEAD_NOT_OWNED, Conflict LEAD_CHANGED, InvalidInput naming fields.key,
    AlreadyExists FIELD_VALUE_TAKEN.
    """
    lead = find_lead(tx, caller, lead_id, lock=True)
    require_owner(lead, caller.person_id)
    if lead.version != version:
        raise Conflict("LEAD_CHANGED", "线索已被他人修改，请刷新后重试", "The lead was changed meanwhile")
    before = lead.fields
    lead.fields = parse_values(FIELDS.definitions(tx, FieldObject.LEAD), fields, "fields", before=before)
    FIELDS.hold(tx, FieldObject.LEAD, lead.id, lead.fields, before, "fields")
    lead.version += 1
    return lead


def assign_lead(tx: Transaction, caller: Caller, lead_id: str, owner: Person) -> Lead:
    """Give a lead of the pool to a person (F116).

    Raises NotFound LEAD_NOT_FOUND, RuleViolation LEAD_STATE, OWNER_INACTIVE or OWNER_CAP_REACHED.
    """
    lock_owner(tx, owner.person_id)
    lead = find_lead(tx, caller, lead_id, lock=True)
    after = next_lead_state(LeadState(lead.state), LeadAction.ASSIGN)
    if not owner.active:
        raise RuleViolation(
            "OWNER_INACTIVE",
            "{name} 已停用，不能分配线索",
            "{name} is disabled and gets no leads",
            name=owner.name,
        )
    gain(tx, lead, Owner(owner.person_id, owner.department_path), Cause.ASSIGN)
    move_lead(tx, lead, after, "")
    tx.emit(
        "lead_assigned",
        lead.id,
        lead.version,
        {"leadId": lead.id, "ownerId": owner.person_id, "name": lead.name},
    )
    return lead


def claim_lead(tx: Transaction, caller: Caller, lead_id: str) -> Lead:
    """Take a lead of the pool for oneself.

    Raises NotFound LEAD_NOT_FOUND, Forbidden POOL_FORBIDDEN for who sees more than the own pools, RuleViolation
    LEAD_STATE or OWNER_CAP_REACHED, Quota DAILY_CLAIMS_USED_UP.
    """
    lock_owner(tx, caller.person_id)
    lead = find_lead(tx, caller, lead_id, lock=True)
    after = next_lead_state(LeadState(lead.state), LeadAction.CLAIM)
    _require_member(tx, caller, lead.pool_id)
    gain(tx, lead, Owner(caller.person_id, caller.department_path), Cause.CLAIM)
    move_lead(tx, lead, after, "")
    return lead


def return_lead(tx: Transaction, caller: Caller, lead_id: str, reason: str) -> Lead:
    """Give an own lead back to the pool (F115, O9).

    Raises what every verb of an owner does: NotFound LEAD_NOT_FOUND, Forbidden LEAD_NOT_OWNED, RuleViolation LEAD_STATE
    or LEAD_CONVERTING, InvalidInput TEXT_TOO_LONG for the reason.
    """
    lead, after, reason = _act(tx, caller, lead_id, LeadAction.RETURN, reason)
    lose(tx, lead, Cause.RETURN, reason)
    move_lead(tx, lead, after, reason)
    return lead


def mark_invalid(tx: Transaction, caller: Caller, lead_id: str, reason: str) -> Lead:
    """Park an own lead in follow-up for later (F119); raises as `return_lead`."""
    lead, after, reason = _act(tx, caller, lead_id, LeadAction.MARK_INVALID, reason)
    move_lead(tx, lead, after, reason)
    return lead


def resume_lead(tx: Transaction, caller: Caller, lead_id: str) -> Lead:
    """Follow up a parked lead again (F119); raises as `return_lead`."""
    lead, after, _ = _act(tx, caller, lead_id, LeadAction.RESUME, "")
    move_lead(tx, lead, after, "")
    lead.evidence_time, lead.warned_time = tx.now, None
    return lead


def void_lead(tx: Transaction, caller: Caller, lead_id: str, reason: str) -> Lead:
    """Void junk (F121): an own lead, or any visible one for who may assign leads; raises as `return_lead`."""
    lead, after, reason = _act(
        tx, caller, lead_id, LeadAction.VOID, reason, anyone="leads.assign" in caller.rights
    )
    move_lead(tx, lead, after, reason)
    return lead


def restore_lead(tx: Transaction, caller: Caller, lead_id: str) -> Lead:
    """Bring a voided lead back into the pool (F122): whoever had it may be gone; raises as `return_lead`."""
    lead, after, _ = _act(tx, caller, lead_id, LeadAction.RESTORE, "", anyone=True)
    if lead.owner_id:
        lose(tx, lead, Cause.RESTORE, "")
    move_lead(tx, lead, after, "")
    return lead


def lock_lead(tx: Transaction, caller: Caller, lead_id: str, days: int) -> Lead:
    """Keep an own lead from being taken back; days: 1 to 90, 0 for the usual 30.

    Raises NotFound LEAD_NOT_FOUND, Forbidden LEAD_NOT_OWNED, InvalidInput LOCK_DAYS_OUT_OF_RANGE, RuleViolation
    LEAD_STATE or LOCK_CAP_REACHED (O12).
    """
    lock_owner(tx, caller.person_id)
    lead = _own_work(tx, caller, lead_id, "lock")
    lead.lock_expire_time = tx.now + check_lock(days, locked_count(tx, caller.person_id, lead.id))
    lead.version += 1
    return lead


def unlock_lead(tx: Transaction, caller: Caller, lead_id: str) -> Lead:
    """End an own lead's lock; one that has none stays. Raises as `lock_lead`."""
    lead = _own_work(tx, caller, lead_id, "unlock")
    lead.lock_expire_time = None
    lead.version += 1
    return lead


def follow_lead(tx: Transaction, caller: Caller, lead_id: str, text: str) -> Lead:
    """Record what the owner did about a lead; the first time makes it followed up (F118).

    Raises NotFound LEAD_NOT_FOUND, Forbidden LEAD_NOT_OWNED, RuleViolation LEAD_STATE or LEAD_CONVERTING.
    """
    text = parse_text(text, "text", 4000)
    lead, after, _ = _act(tx, caller, lead_id, LeadAction.FOLLOW, "")
    move_lead(tx, lead, after, text)
    lead.last_follow_time = lead.evidence_time = tx.now
    lead.warned_time = None
    tx.emit(
        "lead_followed_up",
        lead.id,
        lead.version,
        {
            "leadId": lead.id,
            "authorId": caller.person_id,
            "text": hide_numbers(text)[:200],
            "time": tx.now.isoformat(),
        },
    )
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


def _act(
    tx: Transaction, caller: Caller, lead_id: str, action: LeadAction, reason: str, *, anyone: bool = False
) -> tuple[Lead, LeadState, str]:
    """Lock a lead for a verb that its state allows; return it with the state to come and the parsed reason."""
    reason = parse_text(reason, "reason", LONGEST_REASON, required=False)
    lead = find_lead(tx, caller, lead_id, lock=True)
    if not anyone:
        require_owner(lead, caller.person_id)
    refuse_converting(lead)
    return lead, next_lead_state(LeadState(lead.state), action), reason


def _require_member(tx: Transaction, caller: Caller, pool_id: str | None) -> None:
    """Raise Forbidden POOL_FORBIDDEN unless somebody may take leads of this pool, whose id is as leads keep it."""
    if pool_id and pool_id not in {pool.id for pool in own_pools(tx, caller)}:
        raise pool_forbidden()


def _own_work(tx: Transaction, caller: Caller, lead_id: str, action: str) -> Lead:
    lead = find_lead(tx, caller, lead_id, lock=True)
    require_owner(lead, caller.person_id)
    if LeadState(lead.state) not in OWNED_STATES:
        raise lead_state_refused(LeadState(lead.state), action)
    return lead


def _values(tx: Transaction, given: LeadInput, field: str = "") -> dict[str, object]:
    phone = parse_phone(given.phone, f"{field}phone") if given.phone.strip() else None
    return {
        "id": new_id(),
        "tenant_id": tx.tenant.id,
        "name": parse_text(given.name, f"{field}name", 100),
        "company": parse_text(given.company, f"{field}company", 200, required=False),
        "phone": phone.e164 if phone else "",
        "phone_key": phone.key if phone else "",
        "note": parse_text(given.note, f"{field}note", 4000, required=False),
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
