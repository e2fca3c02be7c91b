"""The statements that every event of a call runs: built once, because building one costs more than running it."""

from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Text, and_, any_, bindparam, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, Insert, distinct_on, insert

from services.telephony.store import tables

_call, _leg, _pop, _session = tables.call, tables.leg, tables.pop, tables.agent_session

CALL_COLUMNS: Final = [column for column in _call.c if column.name != "graph"]


def _upsert_call() -> Insert:
    added = insert(_call)
    new = added.excluded
    # What was decided once stays: who began, who answered, whose call it is. A later sign-off must not rewrite it.
    kept: dict[str, ColumnElement[Any]] = {
        name: func.coalesce(_call.c[name], new[name]) for name in ("origin_person_id", "answered_by_id")
    }
    linked = or_(_call.c.customer_id.is_not(None), _call.c.lead_id.is_not(None))
    for name in ("customer_id", "customer_name", "lead_id", "lead_name"):
        kept[name] = case((linked, _call.c[name]), else_=new[name])
    # That a hidden number is nobody's says nothing of the number that comes to light.
    other_number = and_(_call.c.callers == [], _call.c.number != new.number)
    kept["callers"] = case((other_number, new.callers), else_=func.coalesce(_call.c.callers, new.callers))
    named = {
        "answered_by_name": func.coalesce(func.nullif(_call.c.answered_by_name, ""), new.answered_by_name)
    }
    told = ("direction", "state", "number", "did", "queue", "answer_time", "end_time", "lost", "graph")
    return added.on_conflict_do_update(
        index_elements=["id"],
        set_={name: new[name] for name in told} | kept | named | {"version": _call.c.version + 1},
        where=_call.c.end_time.is_(None),
    )


def _upsert_leg() -> Insert:
    added = insert(_leg)
    new = added.excluded
    told = ("number", "ring_time", "answer_time", "end_time", "result")
    return added.on_conflict_do_update(
        index_elements=["call_id", "uniqueid"],
        set_={name: new[name] for name in told}
        | {"person_id": func.coalesce(_leg.c.person_id, new.person_id)},
    )


def _upsert_pop() -> Insert:
    added = insert(_pop)
    fixed = ("id", "tenant_id", "call_id", "person_id", "extension")
    return added.on_conflict_do_update(
        index_elements=["id"],
        set_={name: added.excluded[name] for name in _names(list(_pop.c)) if name not in fixed},
    )


def _names(columns: list[Column[object]]) -> list[str]:
    return [column.name for column in columns]


# A whole call; returns its row, none when it was over before.
UPSERT_CALL: Final = _upsert_call().returning(*CALL_COLUMNS)
# Its legs, any number.
UPSERT_LEG: Final = _upsert_leg()
# The recordings of a call that is over, any number; one that is expected already stays as it is.
EXPECT_RECORDING: Final = insert(tables.recording).on_conflict_do_nothing()
# A whole pop.
UPSERT_POP: Final = _upsert_pop()

_OWN_CALL: Final = and_(_call.c.tenant_id == bindparam("tenant"), _call.c.id == bindparam("call_id"))
# A call, locked. :tenant :call_id
LOCK_CALL: Final = select(*CALL_COLUMNS).where(_OWN_CALL).with_for_update()
# Add who may be calling. :tenant :call_id :found :customer :name :lead :lead_called
ATTACH_CALLERS: Final = (
    update(_call)
    .where(_OWN_CALL)
    .values(
        callers=bindparam("found"),
        customer_id=bindparam("customer"),
        customer_name=bindparam("name"),
        lead_id=bindparam("lead"),
        lead_name=bindparam("lead_called"),
        version=_call.c.version + 1,
    )
    .returning(*CALL_COLUMNS)
)
# A call's pops, locked in one order. :tenant_id :call_id
LOCK_POPS: Final = (
    select(_pop)
    .where(_pop.c.tenant_id == bindparam("tenant_id"), _pop.c.call_id == bindparam("call_id"))
    .order_by(_pop.c.id)
    .with_for_update()
)
# Whose call each of these agents took last with this number. :tenant :number :persons
TALKED_BEFORE: Final = (
    select(_call.c.answered_by_id, _call.c.customer_id)
    .ext(distinct_on(_call.c.answered_by_id))
    .where(
        _call.c.tenant_id == bindparam("tenant"),
        _call.c.number == bindparam("number"),
        _call.c.customer_id.is_not(None),
        _call.c.answered_by_id.in_(bindparam("persons", expanding=True)),
    )
    .order_by(_call.c.answered_by_id, _call.c.start_time.desc())
)
# Who sits at these extensions. :tenant_id :extensions
AGENTS_AT: Final = select(_session.c.extension, _session.c.person_id, _session.c.person_name).where(
    _session.c.tenant_id == bindparam("tenant_id"),
    # One text for any number of them.
    _session.c.extension == any_(bindparam("extensions", type_=ARRAY(Text))),
    _session.c.sign_off_time.is_(None),
)
