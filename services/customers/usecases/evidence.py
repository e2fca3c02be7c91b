"""How far other services have told us of work on customers: a reclaim waits until they have.

Each is asked by an event and answers by one through its own outbox, with the time up to which everything it told has
left. So an answer shows that its handlers, its outbox, the broker and our handlers are at work. What comes later all
the same undoes the reclaim (`care.add_evidence`).
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.ids import derive_id
from services.chassis.logging import get_logger
from services.customers.store.tables import EvidenceSource

log = get_logger(__name__)

# Services that tell of evidence.
SOURCES = ("orders", "telephony")
# Evidence may be so old and not yet here, and the sweep goes on.
LONGEST_LAG = timedelta(minutes=10)
# Between two questions.
ASK_EVERY = timedelta(minutes=1)
# How soon to look for the answer.
ANSWER_WITHIN = timedelta(seconds=5)


def has_arrived(tx: Transaction) -> bool:
    """Tell whether all evidence from before the last minutes is here; if not, every source is asked."""
    known = {
        row.source: row
        for row in tx.session.scalars(select(EvidenceSource).where(EvidenceSource.tenant_id == tx.tenant.id))
    }
    late = [source for source in SOURCES if not _is_fresh(tx, known.get(source))]
    asked = [known[source].asked_time for source in late if source in known]
    if late and (len(asked) < len(late) or min(asked) <= tx.now - ASK_EVERY):
        _ask(tx, late)
    return not late


def take_report(tx: Transaction, source: str, through_time: datetime) -> None:
    """Keep how far a source has told; reports may come in any order."""
    row = tx.session.get(EvidenceSource, (tx.tenant.id, source), with_for_update=True)
    if row and (row.through_time is None or row.through_time < through_time):
        row.through_time = through_time


def _is_fresh(tx: Transaction, row: EvidenceSource | None) -> bool:
    return row is not None and row.through_time is not None and row.through_time > tx.now - LONGEST_LAG


def _ask(tx: Transaction, sources: list[str]) -> None:
    rows = [{"tenant_id": tx.tenant.id, "source": source, "asked_time": tx.now} for source in sources]
    asked = insert(EvidenceSource).values(rows)
    tx.session.execute(
        asked.on_conflict_do_update(
            index_elements=[EvidenceSource.tenant_id, EvidenceSource.source],
            set_={"asked_time": asked.excluded.asked_time},
        )
    )
    log.warning("reclaims wait for evidence", sources=sources)
    tx.emit("evidence_asked", derive_id(tx.tenant.id, "evidence"), 0, {"sources": sources})
