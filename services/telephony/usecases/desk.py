"""What people do with calls: look at them, close pops, keep notes, say whose call it was and what it asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, exists, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import Conflict, InvalidInput, NotFound, RuleViolation, not_found
from services.chassis.tokens import Caller
from services.kernel.phones import kept
from services.kernel.visibility import sees_all, sees_only_own, visible
from services.telephony.domain.pops import OPEN_STATES, PopState
from services.telephony.store import tables
from services.telephony.store.moves import CALLS, adopt
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases.calls import as_seen_by, call_facts, write_pop

# Pops on a screen at most; older ones were left open.
MOST_POPS = 20
LONGEST_NOTE = 4000


def _owner() -> ColumnElement[str]:
    call, owner = tables.call, tables.customer_owner
    told = owner.c.tenant_id == call.c.tenant_id, owner.c.customer_id == call.c.customer_id
    now = select(owner.c.owner_id).where(*told).scalar_subquery()
    return case((exists().where(*told), now), else_=call.c.customer_owner_id)


# Who owns a call's customer now, as far as customers told; else who owned it when a person linked it.
OWNER = _owner().label("owner_id")


@dataclass(frozen=True)
class CallView:
    """Hold a call's row with its legs by time, its recording, if one was kept, and its inquiries.

    callers: who may have called, as the viewer may see them.
    """

    call: Row
    legs: Sequence[Row] = ()
    recording: Row | None = None
    callers: Sequence[Row] = ()
    inquiries: Sequence[Row] = ()


@dataclass(frozen=True)
class CallFilter:
    """Say which calls a list shows (F221); what is left out shows all.

    person_id: who began it, answered it or was rung. from_time, until_time: of its begin, the latter excluded. number:
    the whole number of the party outside, as calls are stored.
    """

    customer_id: str = ""
    state: str = ""
    person_id: str = ""
    direction: str = ""
    from_time: datetime | None = None
    until_time: datetime | None = None
    disposition: str = ""
    number: str = ""


@dataclass(frozen=True)
class Link:
    """Hold whose call it was: a customer's or a lead's. owner_id: empty in a pool."""

    name: str
    owner_id: str
    customer_id: str = ""
    lead_id: str = ""


def open_pops(tx: Transaction, person_id: str) -> list[tuple[Row, Row]]:
    """Return a person's pops that are on the screen, each with its call, newest first."""
    pop, call = tables.pop, tables.call
    query = (
        select(pop)
        .where(
            pop.c.tenant_id == tx.tenant.id,
            pop.c.person_id == person_id,
            pop.c.state.in_(sorted(OPEN_STATES)),
        )
        .order_by(pop.c.ring_time.desc(), pop.c.id)
        .limit(MOST_POPS)
    )
    pops = every(tx.session, query)
    calls = every(
        tx.session,
        select(call).where(call.c.tenant_id == tx.tenant.id, call.c.id.in_([row["call_id"] for row in pops])),
    )
    by_id = {row["id"]: row for row in calls}
    return [(by_id[row["call_id"]], row) for row in pops]


def close_pop(tx: Transaction, person_id: str, pop_id: str) -> tuple[Row, Row]:
    """Close a person's own pop and return it with its call; a closed one stays closed.

    Raises NotFound POP_NOT_FOUND for another's, RuleViolation POP_CALL_LIVE while it rings or talks there.
    """
    pop, call = tables.pop, tables.call
    query = select(pop).where(
        pop.c.tenant_id == tx.tenant.id, pop.c.id == pop_id, pop.c.person_id == person_id
    )
    before = one(tx.session, query.with_for_update())
    if before is None:
        raise not_found("pop", "来电弹屏", pop_id)
    about = one(
        tx.session, select(call).where(call.c.tenant_id == tx.tenant.id, call.c.id == before["call_id"])
    )
    if about is None:
        raise not_found("pop", "来电弹屏", pop_id)
    if before["state"] == PopState.CLOSED:
        return about, before
    if before["state"] in (PopState.RINGING, PopState.TALKING):
        raise RuleViolation("POP_CALL_LIVE", "通话尚未结束，不能关闭", "The call is not over yet")
    after = {**before, "state": PopState.CLOSED.value}
    return about, write_pop(tx, about, after, before)


def save_note(
    tx: Transaction, viewer: Caller, call_id: str, note: str, known_note: str | None = None
) -> CallView:
    """Keep a note with a call, in place of the one before.

    known_note: that one, as the viewer was shown it; None where it may go unseen. Raises InvalidInput NOTE_TOO_LONG
    beyond 4000 characters, NotFound CALL_NOT_FOUND, Conflict NOTE_CHANGED where the call has another note by now.
    """
    if len(note) > LONGEST_NOTE:
        raise InvalidInput(
            "note",
            "NOTE_TOO_LONG",
            "备注最多 {longest} 字",
            "A note has at most {longest} characters",
            longest=LONGEST_NOTE,
        )
    before = lock_call(tx, viewer, call_id)["note"]
    if known_note is not None and kept(known_note, before) != before:
        raise Conflict(
            "NOTE_CHANGED",
            "备注已被他人修改，请核对后再保存",
            "Somebody else changed the note meanwhile; check it and save again",
        )
    # Lines that were shown without their numbers and came back as they were keep them.
    note = "\n".join(kept(note.split("\n"), before.split("\n")))
    call = tables.call
    tx.session.execute(
        update(call)
        .where(call.c.tenant_id == tx.tenant.id, call.c.id == call_id)
        .values(note=note, version=call.c.version + 1)
    )
    return get_call(tx, viewer, call_id)


def link_call(tx: Transaction, viewer: Caller, call_id: str, link: Link) -> CallView:
    """Say whose call it was; `call_linked` tells it when the call is over. Raises NotFound CALL_NOT_FOUND."""
    before = lock_call(tx, viewer, call_id)
    customer_id, lead_id = link.customer_id or None, link.lead_id or None
    wanted = (customer_id, lead_id, link.owner_id or None)
    if (before["customer_id"], before["lead_id"], before["customer_owner_id"]) != wanted:
        call = tables.call
        values = {
            "customer_id": customer_id,
            "customer_name": link.name if customer_id else "",
            "lead_id": lead_id,
            "lead_name": link.name if lead_id else "",
            "customer_owner_id": link.owner_id or None,
            "version": before["version"] + 1,
        }
        tx.session.execute(
            update(call).where(call.c.tenant_id == tx.tenant.id, call.c.id == call_id).values(values)
        )
        moved_on = (before["customer_id"], before["lead_id"]) != (customer_id, lead_id)
        after = {**before, **values}
        if before["customer_id"] != customer_id:
            after["customer_id"] = adopt(tx, CALLS, after)
        if before["end_time"] is not None and moved_on:
            # The one it was linked to before loses it as evidence.
            moved = {"fromCustomerId": before["customer_id"] or ""}
            tx.emit("call_linked", call_id, after["version"], call_facts(after) | moved)
    return get_call(tx, viewer, call_id)


def get_call(tx: Transaction, viewer: Caller, call_id: str) -> CallView:
    """Return a call that the viewer may see, with all that hangs on it; raises NotFound CALL_NOT_FOUND."""
    call, leg, inquiry = tables.call, tables.leg, tables.call_inquiry
    found = one(
        tx.session,
        select(call, OWNER).where(
            call.c.tenant_id == tx.tenant.id, call.c.id == call_id, sees_call(tx, viewer)
        ),
    )
    if found is None:
        raise _no_call(call_id)
    legs = every(
        tx.session,
        select(leg).where(leg.c.tenant_id == tx.tenant.id, leg.c.call_id == call_id).order_by(leg.c.position),
    )
    inquiries = every(
        tx.session,
        select(inquiry)
        .where(inquiry.c.tenant_id == tx.tenant.id, inquiry.c.call_id == call_id)
        .order_by(inquiry.c.create_time),
    )
    callers = as_seen_by(viewer.person_id, found)["callers"]
    return CallView(found, legs, kept_recording(tx, call_id), callers, inquiries)


def keep_inquiry(
    tx: Transaction, viewer: Caller, call_id: str, inquiry_id: str, products: Sequence[str]
) -> None:
    """Note with a call what its caller asked a price for, as dedupe stored it; a repeat changes nothing.

    Raises NotFound CALL_NOT_FOUND.
    """
    lock_call(tx, viewer, call_id)
    tx.session.execute(
        insert(tables.call_inquiry)
        .values(
            inquiry_id=inquiry_id,
            tenant_id=tx.tenant.id,
            call_id=call_id,
            products=list(products),
            person_id=viewer.person_id,
            create_time=tx.now,
        )
        .on_conflict_do_nothing()
    )


def kept_recording(tx: Transaction, call_id: str) -> Row | None:
    """Return a call's longest recording that is kept, or None."""
    recording = tables.recording
    query = (
        select(recording)
        .where(
            recording.c.tenant_id == tx.tenant.id,
            recording.c.call_id == call_id,
            recording.c.state == "kept",
        )
        .order_by(recording.c.duration_s.desc())
    )
    return one(tx.session, query.limit(1))


def list_calls(
    tx: Transaction,
    viewer: Caller,
    wanted: CallFilter,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[CallView]:
    """Return calls that the viewer may see, newest first.

    before: start time and id of the last call of the page before.
    """
    call, recording = tables.call, tables.recording
    query = select(call, OWNER).where(
        call.c.tenant_id == tx.tenant.id, sees_call(tx, viewer), *_wanted(tx, wanted)
    )
    if before:
        query = query.where(tuple_(call.c.start_time, call.c.id) < before)
    rows = every(tx.session, query.order_by(call.c.start_time.desc(), call.c.id.desc()).limit(limit))
    kept = every(
        tx.session,
        select(recording)
        .where(
            recording.c.tenant_id == tx.tenant.id,
            recording.c.call_id.in_([row["id"] for row in rows]),
            recording.c.state == "kept",
        )
        .order_by(recording.c.duration_s),
    )
    by_call = {row["call_id"]: row for row in kept}
    return [CallView(row, recording=by_call.get(row["id"])) for row in rows]


def _wanted(tx: Transaction, wanted: CallFilter) -> Iterator[ColumnElement[bool]]:
    call, leg = tables.call, tables.leg
    for name in ("customer_id", "state", "direction", "disposition", "number"):
        if given := getattr(wanted, name):
            yield call.c[name] == given
    if wanted.from_time:
        yield call.c.start_time >= wanted.from_time
    if wanted.until_time:
        yield call.c.start_time < wanted.until_time
    if who := wanted.person_id:
        rung = exists().where(
            leg.c.tenant_id == tx.tenant.id, leg.c.call_id == call.c.id, leg.c.person_id == who
        )
        yield or_(call.c.origin_person_id == who, call.c.answered_by_id == who, rung)


def sees_call(tx: Transaction, viewer: Caller) -> ColumnElement[bool]:
    """Return the condition under which a viewer sees a call.

    The viewer or somebody in scope took part in it, owns its customer, or was handed it.
    """
    call, leg = tables.call, tables.leg
    if sees_all(viewer):
        return call.c.tenant_id == tx.tenant.id
    began, among, owns, handed = (
        in_scope(tx, viewer, who)
        for who in (call.c.origin_person_id, leg.c.person_id, OWNER, call.c.handed_to_id)
    )
    took_part = exists().where(and_(leg.c.tenant_id == tx.tenant.id, leg.c.call_id == call.c.id, among))
    return or_(began, owns, handed, took_part)


def in_scope(tx: Transaction, viewer: Caller, who: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that `who` is the viewer, or of the staff in the viewer's scope."""
    own, person = who == viewer.person_id, tables.person
    if sees_only_own(viewer):
        return own
    staff = select(person.c.id).where(
        person.c.tenant_id == tx.tenant.id, visible(viewer, person.c.id, person.c.department_path)
    )
    return or_(own, who.in_(staff))


def lock_call(tx: Transaction, viewer: Caller, call_id: str) -> Row:
    """Lock a call that the viewer may see and return it; raises NotFound CALL_NOT_FOUND."""
    call = tables.call
    query = select(call).where(call.c.tenant_id == tx.tenant.id, call.c.id == call_id, sees_call(tx, viewer))
    found = one(tx.session, query.with_for_update())
    if found is None:
        raise _no_call(call_id)
    return found


def _no_call(call_id: str) -> NotFound:
    return not_found("call", "通话", call_id)
