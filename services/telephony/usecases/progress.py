"""Note until when a PBX was followed without a gap, for the edge that takes over."""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.telephony.store import tables


def followed_until(session: Session, pbx: str) -> float:
    """Return until when a PBX was followed, in seconds since the epoch; 0 when it never was."""
    progress = tables.pbx_progress
    found = session.scalar(select(progress.c.followed_until).where(progress.c.pbx == pbx))
    return found.timestamp() if found else 0.0


def save_followed_until(session: Session, pbx: str, time_s: float) -> None:
    """Note that everything which a PBX told until then is in the store; an earlier time changes nothing."""
    progress = tables.pbx_progress
    added = insert(progress).values(pbx=pbx, followed_until=datetime.fromtimestamp(time_s, UTC))
    later = func.greatest(progress.c.followed_until, added.excluded.followed_until)
    session.execute(added.on_conflict_do_update(index_elements=["pbx"], set_={"followed_until": later}))
