"""What happened to a customer, as its own service and others tell it (F61)."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Event, Transaction
from services.chassis.driver_queries import DriverQuery
from services.chassis.ids import derive_id
from services.customers.store.merge_tables import MOVED, TIMELINE
from services.customers.store.record_tables import TimelineEntry
from services.kernel.ownership import call_is_evidence

# The kind of lines about calls.
CALL = "call"

_NOTE: Final = DriverQuery(
    insert(TimelineEntry)
    .values({column.name: bindparam(column.name, type_=column.type) for column in TimelineEntry.__table__.c})
    .on_conflict_do_nothing()
    .returning(TimelineEntry.entry_id)
)


def note(
    tx: Transaction,
    customer_id: str,
    kind: str,
    subject_id: str,
    data: Mapping[str, Any],
    *,
    key: str = "",
    time: datetime | None = None,
    actor_id: str | None = None,
) -> None:
    """Add a line; the same thing told again, by kind, subject and key, adds none. data: never a telephone number."""
    line = {
        "tenant_id": tx.tenant.id,
        "entry_id": derive_id(customer_id, kind, subject_id, key),
        "customer_id": customer_id,
        "kind": kind,
        "subject_id": subject_id or None,
        "actor_id": (tx.actor_id if actor_id is None else actor_id) or None,
        "data": json.dumps(dict(data), ensure_ascii=False),
        "time": time or tx.now,
    }
    _NOTE.rows(tx, line)


def note_event(
    tx: Transaction,
    event: Event,
    kind: str,
    subject: str,
    customer_id: str,
    names: Sequence[str],
    held_id: str = "",
) -> None:
    """Add a line for what another service told: `names` are what of its data the line says.

    held_id: the customer that stands for this one, where the transaction holds it already.
    """
    if customer_id:
        data = {"what": event.type} | {name: event.data[name] for name in names if name in event.data}
        note(
            tx,
            customer_id,
            kind,
            event.data.get(subject) or "",
            data,
            key=event.type,
            time=event.time,
            actor_id=event.actor_id,
        )
        # A customer that was merged meanwhile: the line goes where its others went, and back with them.
        if held_id != customer_id:
            entry_id = derive_id(customer_id, kind, event.data.get(subject) or "", event.type)
            MOVED.adopt(tx, entry_id, customer_id, TIMELINE)


def forget(tx: Transaction, customer_id: str, kind: str, subject_id: str) -> None:
    """Take the lines about something away that turned out to be another customer's."""
    tx.session.execute(
        delete(TimelineEntry).where(
            TimelineEntry.tenant_id == tx.tenant.id,
            TimelineEntry.customer_id == customer_id,
            TimelineEntry.kind == kind,
            TimelineEntry.subject_id == subject_id,
        )
    )


def last_call(tx: Transaction, customer_id: str) -> datetime | None:
    """Return when the last call that is evidence ended, as far as the lines tell; None: there is none."""
    calls = tx.session.scalars(
        select(TimelineEntry).where(
            TimelineEntry.tenant_id == tx.tenant.id,
            TimelineEntry.customer_id == customer_id,
            TimelineEntry.kind == CALL,
        )
    )
    ends = [
        # Lines of before do not say it; they were written just after.
        datetime.fromisoformat(call.data["endTime"]) if "endTime" in call.data else call.time
        for call in calls
        if call_is_evidence(call.data["answered"], call.data["talkSeconds"])
    ]
    return max(ends, default=None)


def list_timeline(
    tx: Transaction, customer_id: str, *, after: tuple[datetime, str] | None, limit: int
) -> Sequence[TimelineEntry]:
    """Return up to `limit` lines of a customer that the caller may see, newest first."""
    conditions = [TimelineEntry.tenant_id == tx.tenant.id, TimelineEntry.customer_id == customer_id]
    if after:
        conditions.append(tuple_(TimelineEntry.time, TimelineEntry.entry_id) < after)
    return tx.session.scalars(
        select(TimelineEntry)
        .where(*conditions)
        .order_by(TimelineEntry.time.desc(), TimelineEntry.entry_id.desc())
        .limit(limit)
    ).all()
