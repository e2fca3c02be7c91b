"""Keep recordings: which ones to look at, what became of each, and who listened."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.chassis.db import Transaction
from services.chassis.errors import NotFound
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.telephony.pbx.recordings import Recording
from services.telephony.store import tables
from services.telephony.store.rows import Row, every
from services.telephony.usecases.desk import get_call

# A file that is not complete is looked at again so much later, in seconds; the last step repeats.
RETRY_S: Final = (0.5, 1, 2, 5, 15, 60)

# Looks at a file that stays incomplete or missing: about an hour in all.
MOST_ATTEMPTS: Final = 66

# Looks at a bare header: its sound may be written a moment later.
BARE_ATTEMPTS: Final = 4

# A player asks for a file piece by piece: what one person hears of one recording within this time is one
# play.
ONE_PLAY: Final = timedelta(minutes=10)


def due_recordings(session: Session, pbx: str, now: datetime, limit: int = 20) -> list[Row]:
    """Return the pending recordings of a PBX that are due, over all tenants of a database, oldest first."""
    recording = tables.recording
    query = (
        select(recording)
        .where(recording.c.pbx == pbx, recording.c.state == "pending", recording.c.next_try_time <= now)
        .order_by(recording.c.next_try_time)
    )
    return every(session, query.limit(limit))


def keep_recording(tx: Transaction, recording_id: str, key: str, found: Recording) -> None:
    """Note that a recording is kept under `key`."""
    recording = tables.recording
    tx.session.execute(
        update(recording)
        .where(recording.c.id == recording_id, recording.c.tenant_id == tx.tenant.id)
        .values(
            state="kept",
            key=key,
            duration_s=found.duration_s,
            size_bytes=found.size_bytes,
            sha256=found.sha256,
            silent=found.silent,
            detail="",
        )
    )


def postpone_recording(tx: Transaction, recording_id: str, attempts: int, detail: str, most: int) -> None:
    """Note that a recording is not complete after so many looks (from 1); give it up after the last one."""
    recording = tables.recording
    delay_s = RETRY_S[min(attempts, len(RETRY_S)) - 1]
    tx.session.execute(
        update(recording)
        .where(recording.c.id == recording_id, recording.c.tenant_id == tx.tenant.id)
        .values(
            state="refused" if attempts >= most else "pending",
            attempts=attempts,
            detail=detail,
            next_try_time=tx.now + timedelta(seconds=delay_s),
        )
    )


def play_recording(tx: Transaction, viewer: Caller, call_id: str) -> Row:
    """Return a call's recording for a viewer who may see the call, and note that it was listened to.

    Raises NotFound CALL_NOT_FOUND or RECORDING_NOT_FOUND.
    """
    found = get_call(tx, viewer, call_id).recording
    if found is None:
        raise NotFound("RECORDING_NOT_FOUND", "该通话没有录音", "The call has no recording", id=call_id)
    play = tables.recording_play
    again = select(play.c.id).where(
        play.c.tenant_id == tx.tenant.id,
        play.c.recording_id == found["id"],
        play.c.person_id == viewer.person_id,
        play.c.time > tx.now - ONE_PLAY,
    )
    if tx.session.execute(again.limit(1)).first() is not None:
        return found
    tx.session.execute(
        insert(play).values(
            id=new_id(),
            tenant_id=tx.tenant.id,
            recording_id=found["id"],
            person_id=viewer.person_id,
            time=tx.now,
        )
    )
    tx.audit("recording_played", call_id)
    return found
