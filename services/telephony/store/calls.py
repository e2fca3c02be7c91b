"""The statements that every event of a call runs: built once, because building one costs more than running it.

As few as the locks allow, because each costs a round trip, and each for any number of calls: their rows with who sits
at their extensions, their pops once they are there, and then all that follows together with the outbox
(`Transaction.post`).
"""

from typing import Any, Final

from sqlalchemy import (
    CTE,
    JSON,
    Column,
    ColumnElement,
    ScalarSelect,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert, distinct_on, insert

from services.chassis.bulk import inserting
from services.telephony.store import tables

_call, _leg, _pop, _session = tables.call, tables.leg, tables.pop, tables.agent_session

CALL_COLUMNS: Final = [one for one in _call.c if one.name != "graph"]


# Columns that follow from who sits where, and such that people fill later.
_OF_SEATS: Final = ("origin_person_id", "answered_by_id", "answered_by_name")
_LATER: Final = ("customer_owner_id", "note", "disposition", "disposed_by_id", "handed_to_id")


def _upsert_calls() -> Insert:
    own = [one for one in _call.c if one.name not in (*_OF_SEATS, *_LATER)]
    extensions = [column(name, Text) for name in ("origin_extension", "answering_extension")]
    given = (
        func.json_to_recordset(cast(bindparam("calls", type_=Text()), JSON))
        .table_valued(*(column(one.name, one.type) for one in own), *extensions)
        .render_derived(with_types=True)
    )

    def seated(what: Column[Any], extension: str) -> ScalarSelect[Any]:
        return select(what).where(_SEATED, _session.c.extension == given.c[extension]).scalar_subquery()

    of_seats = (
        seated(_session.c.person_id, "origin_extension"),
        seated(_session.c.person_id, "answering_extension"),
        func.coalesce(seated(_session.c.person_name, "answering_extension"), ""),
    )
    added = insert(_call).from_select(
        [*_names(own), *_OF_SEATS],
        select(*(given.c[one.name] for one in own), *of_seats),
        include_defaults=False,
    )
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


def _upsert_legs() -> Insert:
    added = inserting(_leg, _names(list(_leg.c)), "legs")
    new = added.excluded
    told = ("number", "ring_time", "answer_time", "end_time", "result")
    return added.on_conflict_do_update(
        index_elements=["call_id", "uniqueid"],
        set_={name: new[name] for name in told}
        | {"person_id": func.coalesce(_leg.c.person_id, new.person_id)},
    )


def _upsert_pop(added: Insert) -> Insert:
    fixed = ("id", "tenant_id", "call_id", "person_id", "extension")
    return added.on_conflict_do_update(
        index_elements=["id"],
        set_={name: added.excluded[name] for name in _names(list(_pop.c)) if name not in fixed},
    )


def _expected() -> Insert:
    columns = ("id", "tenant_id", "call_id", "pbx", "path", "state", "create_time", "next_try_time")
    return inserting(tables.recording, columns, "recordings").on_conflict_do_nothing()


def _names(columns: list[Column[object]]) -> list[str]:
    return [one.name for one in columns]


_SEATED: Final = and_(_session.c.tenant_id == bindparam("tenant"), _session.c.sign_off_time.is_(None))
# Who sits at these extensions: id and name by extension. :tenant :extensions
_AGENTS: Final = (
    select(
        func.jsonb_object_agg(
            _session.c.extension,
            func.jsonb_build_array(_session.c.person_id, _session.c.person_name),
            type_=JSONB(),
        )
    )
    # One text for any number of them.
    .where(_SEATED, _session.c.extension == any_(bindparam("extensions", type_=ARRAY(Text))))
    .scalar_subquery()
)
# Whole calls; returns the row of each that was not over before, and with it who sits at :extensions as `agents`.
# :tenant, and :calls, see `as_rows`: their other columns, origin_extension and answering_extension.
UPSERT_CALLS: Final = _upsert_calls().returning(*CALL_COLUMNS, _AGENTS.label("agents"))
# A whole pop.
UPSERT_POP: Final = _upsert_pop(insert(_pop))
# Of any number of calls, with the outbox: :legs, :pops, and the :recordings of those that are over, where they are new.
FOLLOWING: Final[tuple[CTE, ...]] = (
    _upsert_legs().cte("legs"),
    _upsert_pop(inserting(_pop, _names(list(_pop.c)), "pops")).cte("pops"),
    _expected().cte("recordings"),
)

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
# The pops of some calls, locked in one order. :tenant_id :call_ids
LOCK_POPS: Final = (
    select(_pop)
    .where(
        _pop.c.tenant_id == bindparam("tenant_id"),
        _pop.c.call_id == any_(bindparam("call_ids", type_=ARRAY(_pop.c.call_id.type))),
    )
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
