"""Keep what the PBX tells: calls, their legs, the pops of who rings, and the events that carry them out.

The edge hands over whole calls, not steps: writing one again, or leaving states in between out, changes
nothing but versions. What a person added meanwhile (a note, a link, a closed pop) stays.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update

from services.chassis.bulk import as_rows
from services.chassis.db import Transaction
from services.chassis.ids import derive_id
from services.kernel.phones import caller_number, mask_number
from services.telephony.domain.pops import OPEN_STATES, Card, PopSettings, PopState, cards
from services.telephony.pbx.callgraph import Call, Direction, Leg, to_json
from services.telephony.store import tables
from services.telephony.store.calls import (
    ATTACH_CALLERS,
    FOLLOWING,
    LOCK_CALL,
    LOCK_POPS,
    TALKED_BEFORE,
    UPSERT_CALLS,
    UPSERT_POP,
)
from services.telephony.store.moves import CALLS, MOVED, adopt
from services.telephony.store.rows import Row, every, one
from services.telephony.usecases import staff

# Asterisk closes a recording just after the hang-up: the first look at it, this long after the end.
RECORDING_DELAY: Final = timedelta(seconds=0.3)

# Columns of a call that nobody was found for.
_NOBODY: Final[Mapping[str, Any]] = {
    "customer_id": None,
    "customer_name": "",
    "lead_id": None,
    "lead_name": "",
}
# Nobody talked to any of them.
_NEVER: Final[Mapping[str, str]] = {}
# A tenant that changed nothing.
_PRESET: Final = PopSettings()
# Reasons in the order in which they put a caller before the others.
_FIRST: Final = ("own_customer", "talked_before")

# What a contract calls a pop's state.
POP_STATE_NAMES: Final = {state: f"POP_STATE_{state.value.upper()}" for state in PopState}


@dataclass(frozen=True)
class Caller:
    """Hold one who may be calling; ids are UUIDs, owner_id is empty in a pool.

    A lead has a lead_id and no customer_id; its customer_name is its company, or its own name.
    """

    customer_id: str
    customer_name: str
    contact_id: str = ""
    contact_name: str = ""
    owner_id: str = ""
    reasons: tuple[str, ...] = ()
    lead_id: str = ""

    @property
    def holder(self) -> str:
        """Return the id of the customer or lead."""
        return self.customer_id or self.lead_id

    def to_json(self) -> dict[str, Any]:
        """Return it as the contract's JSON has it."""
        return {
            "customerId": self.customer_id,
            "customerName": self.customer_name,
            "contactId": self.contact_id,
            "contactName": self.contact_name,
            "ownerId": self.owner_id,
            "reasons": list(self.reasons),
            "leadId": self.lead_id,
        }


@dataclass(frozen=True)
class CallUpdate:
    """Hold a call as the graph knows it now; callers is None while nobody looked the number up."""

    call: Call
    callers: Sequence[Caller] | None = None


@dataclass(frozen=True)
class _Agent:
    person_id: str
    name: str


@dataclass
class _Work:
    """One transaction, and what it is going to write besides the calls' own rows, all in one statement."""

    tx: Transaction
    pbx: str
    rules: PopSettings
    legs: list[Row] = field(default_factory=list)
    pops: list[Row] = field(default_factory=list)
    recordings: list[Row] = field(default_factory=list)
    # Who takes part in one of the calls without a card, which would tell the pages.
    cardless: set[str] = field(default_factory=set)

    def pop(self, call: Row, after: Row, before: Row | None) -> None:
        """Write a pop and publish it, unless it is what it was."""
        changed = _next(after, before)
        if changed is not None:
            self.pops.append(changed)
            _tell_pop(self.tx, call, changed)


# Who sits at an extension, by extension.
_Agents = Mapping[str, _Agent]


def call_id_of(pbx: str, linked_id: str) -> str:
    """Return the id of a call by its PBX and linked id."""
    return derive_id("call", pbx, linked_id)


def record_calls(
    tx: Transaction, pbx: str, updates: Sequence[CallUpdate], pops: PopSettings = _PRESET
) -> None:
    """Write calls as they are now, and publish `pop_changed`, `call_ended` and `agent_changed` for what that changes.

    All calls belong to tx.tenant. A call that is over stays as it was written at its end. pops: whose cards come up.
    """
    work = _Work(tx, pbx, pops)
    for item, row, agents, shown in _write_calls(work, updates):
        _record(work, item.call, row, agents, shown)
    staff.tell_agents(tx, work.cardless)
    following = {"legs": work.legs, "pops": work.pops, "recordings": work.recordings}
    if any(following.values()):
        tx.post(*FOLLOWING, parameters={name: as_rows(rows) for name, rows in following.items()})


def attach_callers(tx: Transaction, pbx: str, linked_id: str, callers: Sequence[Caller]) -> None:
    """Add who may be calling, where the answer came after the call had been written without it."""
    row = one(tx.session, LOCK_CALL, tenant=tx.tenant.id, call_id=call_id_of(pbx, linked_id))
    if row is None or row["callers"] is not None:
        return
    link = _link(callers) if row["customer_id"] is None and row["lead_id"] is None else None
    to = row if link is None else link
    after = one(
        tx.session,
        ATTACH_CALLERS,
        tenant=tx.tenant.id,
        call_id=row["id"],
        found=[caller.to_json() for caller in callers],
        customer=to["customer_id"],
        name=to["customer_name"],
        lead=to["lead_id"],
        lead_called=to["lead_name"],
    )
    if after is None:
        return
    if link:
        after = {**after, "customer_id": adopt(tx, CALLS, after)}
    shown_pops = _pops_of(tx, [row["id"]])
    talked = _talked_before(tx, after, [shown["person_id"] for shown in shown_pops])
    for shown in shown_pops:
        if shown["state"] in OPEN_STATES:
            write_pop(tx, after, {**shown, **as_seen_by(shown["person_id"], after, talked)}, shown)
    if link and after["end_time"] is not None:
        tx.emit("call_linked", after["id"], after["version"], call_facts(after))


def end_lost_call(tx: Transaction, call_id: str) -> None:
    """End a live call that nobody can follow any more, now, with its pops."""
    row = one(tx.session, LOCK_CALL, tenant=tx.tenant.id, call_id=call_id)
    if row is None or row["end_time"] is not None:
        return
    state = "missed" if row["answer_time"] is None else "ended"
    values = {"state": state, "end_time": tx.now, "lost": True, "version": row["version"] + 1}
    tx.session.execute(
        update(tables.call)
        .where(tables.call.c.tenant_id == tx.tenant.id, tables.call.c.id == call_id)
        .values(**values, graph=None)
    )
    after = {**row, **values}
    for shown in _pops_of(tx, [call_id]):
        if shown["state"] in (PopState.RINGING, PopState.TALKING):
            over = PopState.WITHDRAWN if shown["state"] == PopState.RINGING else PopState.WRAP_UP
            write_pop(tx, after, {**shown, "state": over.value, "end_time": tx.now}, shown)
    tell_parties(tx, call_id)
    tx.emit("call_ended", call_id, after["version"], call_facts(after))


def tell_parties(tx: Transaction, call_id: str, *, talked: bool = False) -> None:
    """Tell the pages of a call's agents that where they stand may have changed. talked: of those who talked only."""
    leg = tables.leg
    parties = select(leg.c.person_id).where(
        leg.c.tenant_id == tx.tenant.id, leg.c.call_id == call_id, leg.c.person_id.is_not(None)
    )
    if talked:
        parties = parties.where(leg.c.answer_time.is_not(None))
    staff.tell_agents(tx, set(tx.session.scalars(parties)))


def call_facts(row: Row) -> dict[str, Any]:
    """Return what others learn of a call that is over; talkSeconds is 0 when nobody answered."""
    talk_s = (row["end_time"] - row["answer_time"]).total_seconds() if row["answer_time"] else 0.0
    return {
        "callId": row["id"],
        "direction": row["direction"],
        "state": row["state"],
        "customerId": row["customer_id"] or "",
        "leadId": row["lead_id"] or "",
        "personId": row["answered_by_id"] or row["origin_person_id"] or "",
        "startTime": row["start_time"].isoformat(),
        "endTime": row["end_time"].isoformat(),
        "answered": row["answer_time"] is not None,
        "talkSeconds": round(talk_s, 3),
    }


def pop_json(call: Row, pop: Row) -> dict[str, Any]:
    """Return a pop as the JSON of crm.telephony.v1.Pop; the edge's time of arrival is its ring time."""
    shown = {
        "popId": pop["id"],
        "callId": pop["call_id"],
        "personId": pop["person_id"],
        "extension": pop["extension"],
        "state": POP_STATE_NAMES[PopState(pop["state"])],
        "version": str(pop["version"]),
        "number": pop["number"],
        "did": call["did"],
        "queue": call["queue"],
        "callers": pop["callers"],
        "answeredById": pop["answered_by_id"] or "",
        "answeredByName": pop["answered_by_name"],
        "ringTime": _json_time(pop["ring_time"]),
        "answerTime": _json_time(pop["answer_time"]),
        "endTime": _json_time(pop["end_time"]),
        "receiveTime": _json_time(pop["ring_time"]),
        "lookedUp": call["callers"] is not None,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _record(work: _Work, call: Call, row: Row, agents: _Agents, shown: Sequence[Row]) -> None:
    work.legs += _legs(row, call.legs, agents)
    others = len(work.pops)
    if call.direction is Direction.INBOUND:
        _write_pops(work, row, call, agents, shown)
    taking_part = {row["origin_person_id"], row["answered_by_id"]} | {
        agents[leg.extension].person_id for leg in call.legs if leg.extension in agents
    }
    told = {pop["person_id"] for pop in (*shown, *work.pops[others:])}
    work.cardless |= taking_part - told - {None}
    if call.end_time is not None:
        work.recordings += _expected_recordings(work, row["id"], call)
        work.tx.emit("call_ended", row["id"], row["version"], call_facts(row))


def _write_calls(
    work: _Work, updates: Sequence[CallUpdate]
) -> Iterator[tuple[CallUpdate, Row, _Agents, Sequence[Row]]]:
    """Write the rows of calls; yield each that was not over before, who sits at the extensions, and its pops so far."""
    # One order for all writers of several calls.
    items = {call_id_of(work.pbx, item.call.linked_id): item for item in updates}
    ordered = sorted(items.items(), key=lambda each: each[1].call.linked_id)
    extensions = {leg.extension for item in updates for leg in item.call.legs}
    found = every(
        work.tx.connection,
        UPSERT_CALLS,
        calls=as_rows([_as_row(work, call_id, item) for call_id, item in ordered]),
        tenant=work.tx.tenant.id,
        extensions=sorted(extensions - {""}),
    )
    # A call that was not there had no pops.
    shown = defaultdict[str, list[Row]](list)
    for pop in _pops_of(work.tx, [row["id"] for row in found if row["version"] > 1]):
        shown[pop["call_id"]].append(pop)
    new = [row["customer_id"] for row in found if row["version"] == 1 and row["customer_id"]]
    moved = MOVED.moved(work.tx, new)
    # The same in every row.
    seated = found[0]["agents"] if found else None
    agents = {extension: _Agent(*who) for extension, who in (seated or {}).items()}
    for row in map(dict, found):
        if row["version"] == 1 and row["customer_id"] in moved:
            row["customer_id"] = adopt(work.tx, CALLS, row)
        yield items[row["id"]], row, agents, shown[row["id"]]


def _as_row(work: _Work, call_id: str, item: CallUpdate) -> dict[str, Any]:
    call = item.call
    answering = call.leg(call.answered_by)
    outside = call.outside_number
    values: dict[str, Any] = {
        "id": call_id,
        "tenant_id": work.tx.tenant.id,
        "pbx": work.pbx,
        "linked_id": call.linked_id,
        "direction": call.direction.value,
        "state": _state(call),
        "number": caller_number(outside),
        "did": call.dialled_number if call.direction is Direction.INBOUND else "",
        "queue": call.queue,
        "start_time": call.start_time,
        "answer_time": call.answer_time,
        "end_time": call.end_time,
        "lost": call.lost,
        "graph": to_json(call) if call.end_time is None else None,
        "version": 1,
        "callers": None,
        **_NOBODY,
        "origin_extension": call.origin_extension,
        "answering_extension": answering.extension if answering else "",
    }
    if item.callers is not None:
        values["callers"] = [caller.to_json() for caller in item.callers]
        values |= _link(item.callers) or {}
    return values


def _pops_of(tx: Transaction, call_ids: Sequence[str]) -> list[Row]:
    """Return the pops of calls, locked in one order."""
    if not call_ids:
        return []
    return every(tx.connection, LOCK_POPS, tenant_id=tx.tenant.id, call_ids=call_ids)


def _state(call: Call) -> str:
    if call.end_time is None:
        return "ringing" if call.answer_time is None else "answered"
    return "missed" if call.answer_time is None else "ended"


def _link(callers: Sequence[Caller]) -> dict[str, Any] | None:
    """Return the columns that name the only customer or lead found; of several a person picks one."""
    if len({caller.holder for caller in callers}) != 1:
        return None
    only = callers[0]
    if only.lead_id:
        return {**_NOBODY, "lead_id": only.lead_id, "lead_name": only.customer_name}
    return {**_NOBODY, "customer_id": only.customer_id, "customer_name": only.customer_name}


def _legs(call: Row, legs: Sequence[Leg], agents: _Agents) -> list[Row]:
    return [
        {
            "call_id": call["id"],
            "uniqueid": leg.uniqueid,
            "tenant_id": call["tenant_id"],
            "extension": leg.extension,
            "number": leg.number,
            "person_id": agents[leg.extension].person_id if leg.extension in agents else None,
            "position": position,
            "ring_time": leg.ring_time,
            "answer_time": leg.answer_time,
            "end_time": leg.end_time,
            "result": leg.dial_status or (leg.reason.value.upper() if leg.reason else ""),
        }
        for position, leg in enumerate(legs)
    ]


def _write_pops(work: _Work, call: Row, graph: Call, agents: _Agents, rows: Sequence[Row]) -> None:
    wanted = cards(graph)
    if not wanted:
        return
    seated = [agents[card.extension] for card in wanted if card.extension in agents]
    persons = {row["person_id"] for row in rows} | {agent.person_id for agent in seated}
    talked = _talked_before(work.tx, call, persons)
    holders = None if call["callers"] is None else len({_holder(caller) for caller in call["callers"]})
    rules = work.rules.of(call["queue"])
    for card in wanted:
        shown = [row for row in rows if row["extension"] == card.extension]
        current = [row for row in shown if row["ring_time"] >= card.ring_time]
        for row in current:
            _follow(work, call, card, row, talked)
        if not current and rules.pops(card.state, holders):
            _ring(work, call, card, shown, agents.get(card.extension), talked)


def _follow(work: _Work, call: Row, card: Card, before: Row, talked: Mapping[str, str]) -> None:
    """Keep a pop in step with its card: who had it when it began to ring keeps it to the end."""
    # A closed pop stays closed; a withdrawn one may still learn who answered.
    told = before["answered_by_id"] == call["answered_by_id"]
    if before["state"] == PopState.CLOSED or (before["state"] == PopState.WITHDRAWN and told):
        return
    work.pop(call, _pop(work, call, card, before["person_id"], talked), before)


def _ring(
    work: _Work,
    call: Row,
    card: Card,
    older: Sequence[Row],
    seated: _Agent | None,
    talked: Mapping[str, str],
) -> None:
    """Give a new ring to who is signed on now, and end what an earlier one left at that extension."""
    agent = seated if card.state in (PopState.RINGING, PopState.TALKING) else None
    own = next((row for row in older if agent and row["person_id"] == agent.person_id), None)
    for row in older:
        if row is not own and row["state"] in (PopState.RINGING, PopState.TALKING):
            over = PopState.WITHDRAWN if row["state"] == PopState.RINGING else PopState.WRAP_UP
            work.pop(call, {**row, "state": over.value, "end_time": card.ring_time}, row)
    if agent:
        work.pop(call, _pop(work, call, card, agent.person_id, talked), own)


def _pop(work: _Work, call: Row, card: Card, person_id: str, talked: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": derive_id("pop", call["id"], card.extension, person_id),
        "tenant_id": work.tx.tenant.id,
        "call_id": call["id"],
        "person_id": person_id,
        "extension": card.extension,
        "state": card.state.value,
        "answered_by_id": call["answered_by_id"],
        "answered_by_name": call["answered_by_name"],
        "ring_time": card.ring_time,
        "answer_time": card.answer_time,
        "end_time": card.end_time,
        **as_seen_by(person_id, call, talked),
    }


def write_pop(tx: Transaction, call: Row, after: Row, before: Row | None) -> Row:
    """Write a pop with the next version and publish it, unless it is what it was; returns it as stored."""
    changed = _next(after, before)
    if changed is None:
        return before or after
    tx.session.execute(UPSERT_POP, changed)
    _tell_pop(tx, call, changed)
    return changed


def _next(after: Row, before: Row | None) -> Row | None:
    """Return a pop with its next version; None when it is what it was."""
    compared = ("state", "number", "callers", "answered_by_id", "ring_time", "answer_time", "end_time")
    if before is not None and all(before[name] == after[name] for name in compared):
        return None
    return {**after, "version": (before["version"] if before else 0) + 1}


def _tell_pop(tx: Transaction, call: Row, pop: Row) -> None:
    tx.emit("pop_changed", pop["id"], pop["version"], pop_json(call, pop))


def as_seen_by(person_id: str, call: Row, talked: Mapping[str, str] = _NEVER) -> dict[str, Any]:
    """Return the callers, the person's own first, then whom the person talked to last, and the number.

    Of others' only company and owner are told: what the person may see beyond, the record itself tells. The number is
    masked when only others have it, and until it is known who has it. talked: by person, the customer of the last call
    with this number.
    """
    before = talked.get(person_id)

    def shown(caller: Mapping[str, Any]) -> dict[str, Any]:
        reasons = [reason for reason in caller["reasons"] if reason != "own_customer"]
        if before and caller["customerId"] == before:
            reasons.insert(0, "talked_before")
        if caller["ownerId"] == person_id:
            return {**caller, "reasons": ["own_customer", *reasons]}
        return {**caller, "contactName": "", "reasons": reasons}

    callers = [shown(caller) for caller in call["callers"] or []]
    callers.sort(key=lambda caller: [reason not in caller["reasons"] for reason in _FIRST])
    own = callers[0]["ownerId"] == person_id if callers else call["callers"] is not None
    return {"callers": callers, "number": call["number"] if own else mask_number(call["number"])}


def _holder(caller: Mapping[str, Any]) -> str:
    return caller["customerId"] or str(caller.get("leadId", ""))


def _talked_before(tx: Transaction, call: Row, persons: Iterable[str]) -> Mapping[str, str]:
    """Return whose call each person took last with this number; asked only where several have it."""
    holders = {_holder(caller) for caller in call["callers"] or []}
    wanted = sorted(persons)
    if len(holders) < 2 or not wanted or not call["number"]:
        return _NEVER
    found = every(tx.connection, TALKED_BEFORE, tenant=tx.tenant.id, number=call["number"], persons=wanted)
    return {row["answered_by_id"]: row["customer_id"] for row in found}


def _expected_recordings(work: _Work, call_id: str, call: Call) -> list[Row]:
    return [
        {
            "id": derive_id("recording", call_id, path),
            "tenant_id": work.tx.tenant.id,
            "call_id": call_id,
            "pbx": work.pbx,
            "path": path,
            "state": "pending",
            "create_time": work.tx.now,
            "next_try_time": work.tx.now + RECORDING_DELAY,
        }
        for path in call.recordings
    ]


def _json_time(time: datetime | None) -> str | None:
    """Return a time as protobuf's JSON writes it."""
    return None if time is None else time.isoformat().replace("+00:00", "Z")
