"""Keep recordings: which ones to look at, what became of each, and who listened."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import and_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.chassis.bulk import as_rows, updating
from services.chassis.db import Transaction
from services.chassis.errors import NotFound
from services.chassis.ids import derive_id, new_id
from services.chassis.tokens import Caller
from services.telephony.pbx.recordings import Recording
from services.telephony.store import tables
from services.telephony.store.rows import Row, every
from services.telephony.usecases.calls import call_id_of
from services.telephony.usecases.desk import get_call

# A file that is not complete is looked at again so much later, in seconds; the last step repeats.
RETRY_S: Final = (0.5, 1, 2, 5, 15, 60)

# Recordings looked at in one go.
MOST_LOOKS: Final = 20

# Looks at a file that stays incomplete or missing: about an hour in all.
MOST_ATTEMPTS: Final = 66

# Looks at a bare header: its sound may be written a moment later.
BARE_ATTEMPTS: Final = 4

# Until a place of recordings that took none is tried again.
VAULT_RETRY: Final = timedelta(seconds=30)

# A player asks for a file piece by piece: what one person hears of one recording within this time is one
# play.
ONE_PLAY: Final = timedelta(minutes=10)

# A file that no call told of is looked at when it is at least so old, and for so long.
ORPHAN_AFTER: Final = timedelta(minutes=10)
ORPHANS_FOR: Final = timedelta(days=3)

# What a look at a recording may change, and which one it is.
_KEYS: Final = ("id", "tenant_id")
_TOLD: Final = (
    *_KEYS,
    *("state", "key", "duration_s", "size_bytes", "sha256", "silent", "detail", "next_try_time", "attempts"),
)
_WRITE: Final = updating(tables.recording, _TOLD, _KEYS, "recordings")


def due_recordings(session: Session, pbx: str, now: datetime, limit: int = MOST_LOOKS) -> list[Row]:
    """Return the pending recordings of a PBX that are due, over all tenants of a database, oldest first."""
    recording = tables.recording
    query = (
        select(recording)
        .where(recording.c.pbx == pbx, recording.c.state == "pending", recording.c.next_try_time <= now)
        .order_by(recording.c.next_try_time)
    )
    return every(session, query.limit(limit))


def orphans(folder: Path, now: datetime) -> dict[str, Path]:
    """Return the WAV files of a folder by what their names say is the linked id of their call.

    Left out are those that may still be written, and those older than `ORPHANS_FOR`. Raises OSError.
    """
    found: dict[str, Path] = {}
    for file in folder.glob("*.wav"):
        age = now - datetime.fromtimestamp(file.stat().st_mtime, UTC)
        if ORPHAN_AFTER < age < ORPHANS_FOR:
            found[file.stem] = file
    return found


def orphaned_calls(session: Session, pbx: str, files: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Return the calls of a database that are over and whose files nobody told of: files by call id, by tenant id.

    A file belongs to the call whose linked id is its name, in whichever tenant of this database.
    """
    if not files:
        return {}
    call, recording = tables.call, tables.recording
    by_call = {call_id_of(pbx, linked_id): file for linked_id, file in files.items()}
    lacking = (
        select(call.c.id, call.c.tenant_id)
        .outerjoin(
            recording,
            and_(recording.c.tenant_id == call.c.tenant_id, recording.c.call_id == call.c.id),
        )
        .where(call.c.id.in_(by_call), call.c.end_time.is_not(None), recording.c.id.is_(None))
    )
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for row in every(session, lacking):
        found[row["tenant_id"]][row["id"]] = by_call[row["id"]]
    return found


def adopt_orphans(tx: Transaction, pbx: str, files: Mapping[str, Path]) -> int:
    """Expect the recordings of calls whose files nobody told of, by call id; return how many."""
    rows = [
        {
            "id": derive_id("recording", call_id, str(file)),
            "tenant_id": tx.tenant.id,
            "call_id": call_id,
            "pbx": pbx,
            "path": str(file),
            "state": "pending",
            "create_time": tx.now,
            "next_try_time": tx.now,
        }
        for call_id, file in files.items()
    ]
    tx.session.execute(insert(tables.recording).values(rows).on_conflict_do_nothing())
    return len(rows)


def kept(row: Row, key: str, found: Recording) -> Row:
    """Return a recording's row once it is kept under `key`."""
    told = {name: getattr(found, name) for name in ("duration_s", "size_bytes", "sha256", "silent")}
    return {**row, **told, "state": "kept", "key": key, "detail": ""}


def postponed(row: Row, detail: str, most: int, now: datetime) -> Row:
    """Return a recording's row after a look that found it incomplete: refused after so many of them."""
    attempts = row["attempts"] + 1
    return {
        **row,
        "state": "refused" if attempts >= most else "pending",
        "attempts": attempts,
        "detail": detail,
        "next_try_time": now + timedelta(seconds=RETRY_S[min(attempts, len(RETRY_S)) - 1]),
    }


def waiting_for_vault(row: Row, detail: str, now: datetime) -> Row:
    """Return a recording's row while the place of recordings takes none: it is tried again, with no end."""
    return {**row, "detail": detail, "next_try_time": now + VAULT_RETRY}


def write_recordings(tx: Transaction, rows: Sequence[Row]) -> None:
    """Write what became of recordings."""
    told = [{name: row[name] for name in _TOLD} for row in rows]
    tx.session.execute(_WRITE, {"recordings": as_rows(told)})


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
