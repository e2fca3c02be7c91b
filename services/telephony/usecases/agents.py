"""What agents do around their calls: states, dispositions, handing a call over; and how desks work in a tenant."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import DateTime, Select, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.chassis.db import Transaction
from services.chassis.errors import Conflict, InvalidInput, not_found
from services.chassis.tokens import Caller
from services.telephony.domain.agents import (
    LONGEST_WRAP_UP_S,
    Agent,
    AgentLeg,
    AgentState,
    Choice,
    DeskSettings,
    check_choice,
    check_settings,
    standing,
)
from services.telephony.domain.pops import PopMoment, PopRules, PopSettings, PopState
from services.telephony.store import tables
from services.telephony.store.rows import every, one
from services.telephony.usecases import staff
from services.telephony.usecases.calls import tell_parties, write_pop
from services.telephony.usecases.desk import lock_call

# Calls that ended before then need no wrap-up any more.
_LONGEST_WRAP_UP = timedelta(seconds=LONGEST_WRAP_UP_S)


def _seats() -> Select[Any]:
    """Return the statement of who sits at a PBX's extensions, what they chose, and the end of their last talk."""
    seat, line, choice = tables.agent_session, tables.line, tables.agent_choice
    leg, call, settings = tables.leg, tables.call, tables.desk_settings
    wrap_up_s = func.coalesce(settings.c.wrap_up_s, DeskSettings.wrap_up_s)
    now = bindparam("now", type_=DateTime(timezone=True))
    last_end = (
        select(func.max(leg.c.end_time))
        .join(call, call.c.id == leg.c.call_id)
        .where(
            leg.c.tenant_id == seat.c.tenant_id,
            leg.c.person_id == seat.c.person_id,
            # Twice a second for all agents: only calls that may be in the wrap-up are looked at.
            leg.c.end_time > now - wrap_up_s * timedelta(seconds=1),
            leg.c.answer_time.is_not(None),
            call.c.disposition == "",
        )
        .scalar_subquery()
    )
    return (
        select(
            seat.c.extension,
            choice.c.state,
            choice.c.reason,
            choice.c.time,
            last_end.label("last_end"),
            wrap_up_s.label("wrap_up_s"),
        )
        .join(
            line,
            (line.c.tenant_id == seat.c.tenant_id)
            & (line.c.kind == staff.EXTENSION)
            & (line.c.number == seat.c.extension)
            & line.c.pbx.in_(["", bindparam("pbx")]),
        )
        .outerjoin(
            choice, (choice.c.tenant_id == seat.c.tenant_id) & (choice.c.person_id == seat.c.person_id)
        )
        .outerjoin(settings, settings.c.tenant_id == seat.c.tenant_id)
        .where(seat.c.sign_off_time.is_(None))
    )


# Built once: it is asked twice a second. :pbx :now
_SEATS: Final = _seats()


def agent_now(tx: Transaction, person_id: str) -> Agent:
    """Return where an agent stands."""
    choice, leg, call = tables.agent_choice, tables.leg, tables.call
    chosen = one(
        tx.session,
        select(choice).where(choice.c.tenant_id == tx.tenant.id, choice.c.person_id == person_id),
    )
    settings = desk_settings(tx)
    query = (
        select(leg.c.call_id, leg.c.ring_time, leg.c.answer_time, leg.c.end_time, call.c.disposition)
        .join(call, call.c.id == leg.c.call_id)
        .where(
            leg.c.tenant_id == tx.tenant.id,
            leg.c.person_id == person_id,
            or_(leg.c.end_time.is_(None), leg.c.end_time > tx.now - _LONGEST_WRAP_UP),
            # A leg of a call that is over, but was never told to be, rings nobody.
            or_(leg.c.end_time.is_not(None), call.c.end_time.is_(None)),
        )
        .order_by(leg.c.end_time.desc().nulls_first(), leg.c.answer_time.desc().nulls_last())
    )
    legs = [
        AgentLeg(
            row["call_id"], row["ring_time"], row["answer_time"], row["end_time"], bool(row["disposition"])
        )
        for row in every(tx.session, query)
    ]
    return standing(
        seated=bool(staff.seat(tx, person_id)),
        choice=Choice(AgentState(chosen["state"]), chosen["reason"], chosen["time"]) if chosen else None,
        legs=legs,
        wrap_up_s=settings.wrap_up_s,
        now=tx.now,
    )


def unavailable_seats(session: Session, pbx: str, now: datetime) -> dict[str, str]:
    """Return, by extension of this PBX where somebody sits, why queues shall not ring it; "" where they shall.

    Over all tenants of a database. The same rules as `standing`, of many agents in one query.
    """
    seats: dict[str, str] = {}
    for row in session.execute(_SEATS, {"pbx": pbx, "now": now}):
        if not (row.state or row.last_end):
            seats[row.extension] = ""
            continue
        chosen = Choice(AgentState(row.state), row.reason, row.time) if row.state else None
        over = [AgentLeg("", None, row.last_end, row.last_end)] if row.last_end else []
        stands = standing(seated=True, choice=chosen, legs=over, wrap_up_s=row.wrap_up_s, now=now)
        seats[row.extension] = "" if stands.state is AgentState.IDLE else stands.reason or stands.state.value
    return seats


def choose_state(tx: Transaction, person_id: str, state: str, reason: str) -> Agent:
    """Let an agent be idle, busy or away, and return where the agent stands; ends the wrap-up.

    Raises InvalidInput as `check_choice` does.
    """
    chosen = check_choice(state, reason, desk_settings(tx))
    choice = tables.agent_choice
    values = {"state": chosen.value, "reason": "" if chosen is AgentState.IDLE else reason, "time": tx.now}
    tx.session.execute(
        insert(choice)
        .values(tenant_id=tx.tenant.id, person_id=person_id, **values)
        .on_conflict_do_update(index_elements=["tenant_id", "person_id"], set_=values)
    )
    staff.tell_agents(tx, [person_id])
    return agent_now(tx, person_id)


def dispose_call(tx: Transaction, viewer: Caller, call_id: str, disposition: str) -> Agent:
    """Keep what came of a call, close the viewer's card of it, and return where the agent stands.

    Raises NotFound CALL_NOT_FOUND, InvalidInput DISPOSITION_UNKNOWN.
    """
    if disposition not in desk_settings(tx).dispositions:
        raise InvalidInput(
            "disposition", "DISPOSITION_UNKNOWN", "请选择一个通话结果", "Choose one of the dispositions"
        )
    about = lock_call(tx, viewer, call_id)
    call, pop = tables.call, tables.pop
    tx.session.execute(
        update(call)
        .where(call.c.tenant_id == tx.tenant.id, call.c.id == call_id)
        .values(disposition=disposition, disposed_by_id=viewer.person_id, version=call.c.version + 1)
    )
    own = (
        select(pop)
        .where(
            pop.c.tenant_id == tx.tenant.id,
            pop.c.call_id == call_id,
            pop.c.person_id == viewer.person_id,
            pop.c.state == PopState.WRAP_UP.value,
        )
        .with_for_update()
    )
    for shown in every(tx.session, own):
        write_pop(tx, about, {**shown, "state": PopState.CLOSED.value}, shown)
    # It ends the wrap-up of all who talked in it.
    tell_parties(tx, call_id, talked=True)
    return agent_now(tx, viewer.person_id)


def hand_over_call(tx: Transaction, viewer: Caller, call_id: str, person_id: str) -> None:
    """Give a call to a colleague, who sees it from then on; `call_handed_over` tells who and by whom.

    Raises NotFound CALL_NOT_FOUND, PERSON_NOT_FOUND.
    """
    person, call = tables.person, tables.call
    about = lock_call(tx, viewer, call_id)
    known = select(person.c.id).where(person.c.tenant_id == tx.tenant.id, person.c.id == person_id)
    if tx.session.execute(known).first() is None:
        raise not_found("person", "员工", person_id)
    if about["handed_to_id"] == person_id:
        return
    version = about["version"] + 1
    tx.session.execute(
        update(call)
        .where(call.c.tenant_id == tx.tenant.id, call.c.id == call_id)
        .values(handed_to_id=person_id, version=version)
    )
    tx.emit(
        "call_handed_over",
        call_id,
        version,
        {
            "callId": call_id,
            "customerId": about["customer_id"] or "",
            "customerName": about["customer_name"],
            "fromPersonId": viewer.person_id,
            "fromName": viewer.name,
            "toPersonId": person_id,
        },
    )


def desk_settings(tx: Transaction) -> DeskSettings:
    """Return how desks work in the tenant."""
    settings = tables.desk_settings
    found = one(tx.session, select(settings).where(settings.c.tenant_id == tx.tenant.id))
    if found is None:
        return DeskSettings()
    return DeskSettings(
        found["wrap_up_s"],
        tuple(found["dispositions"]),
        tuple(found["break_reasons"]),
        found["version"],
        _pops(found["pops"]),
    )


def pop_settings(session: Session) -> dict[str, PopSettings]:
    """Return, by tenant, when cards pop in the tenants of a database that changed it."""
    settings = tables.desk_settings
    rows = session.execute(select(settings.c.tenant_id, settings.c.pops)).all()
    return {row.tenant_id: _pops(row.pops) for row in rows}


def _pops(stored: Mapping[str, Any]) -> PopSettings:
    def rules(given: Mapping[str, Any]) -> PopRules:
        return PopRules(**{**given, "moment": PopMoment(given["moment"])}) if given else PopRules()

    return PopSettings(rules(stored.get("direct", {})), rules(stored.get("queue", {})))


def save_desk_settings(tx: Transaction, wanted: DeskSettings) -> DeskSettings:
    """Keep how desks work.

    Raises InvalidInput as `check_settings` does, Conflict VERSION_CHANGED for an old version.
    """
    check_settings(wanted)
    settings = tables.desk_settings
    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(wanted).items()
    }
    written = tx.session.execute(
        insert(settings)
        .values(values | {"tenant_id": tx.tenant.id, "version": 1})
        .on_conflict_do_update(
            index_elements=["tenant_id"],
            set_=values | {"version": settings.c.version + 1},
            where=settings.c.version == wanted.version,
        )
        .returning(settings.c.version)
    )
    if written.first() is None:
        raise Conflict(
            "VERSION_CHANGED", "设置已被他人修改，请刷新后重试", "Somebody changed the settings; reload them"
        )
    return desk_settings(tx)
