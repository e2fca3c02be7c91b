"""The activity that settles due reservations."""

from temporalio import activity

from services.chassis.db import Store
from services.chassis.errors import AppError
from services.chassis.logging import get_logger
from services.dedupe.metrics import SETTLED
from services.dedupe.store import index
from services.dedupe.store.queries import due_reservations, next_settle_time
from services.dedupe.usecases.backfill import backfill
from services.dedupe.usecases.reservations import postpone
from services.dedupe.usecases.scans import scan_batch
from services.dedupe.usecases.settling import Writer, settle
from services.dedupe.workflows.contracts import SCAN_BATCHES, SETTLE_DUE, ScanTenant, Settled, SettleDue

log = get_logger(__name__)

# Transactions of one activity of a scan.
SCAN_ROUNDS = 80
# Reservations settled in one run.
BATCH = 100


class Activities:
    """Dedupe's activities over its store and the writer's client."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    @activity.defn(name=SCAN_BATCHES)
    def scan_batches(self, scan: ScanTenant) -> bool:
        """Look at the next customers of a scan; return whether more are left. A repeat goes on where it was."""
        for _ in range(SCAN_ROUNDS):
            activity.heartbeat()
            with self._store.transaction(scan.tenant) as tx:
                if not scan_batch(tx, scan.scan_id):
                    return False
        return True

    @activity.defn(name=SETTLE_DUE)
    def settle_due(self, due: SettleDue) -> Settled:
        """Settle what is due; one that its writer cannot answer for waits without holding up the others.

        Then key what was there before a rule, and count the index's grams: both go on where they were after a crash.
        """
        with self._store.transaction(due.tenant, now=due.now) as tx:
            ids = due_reservations(tx, BATCH)
        for reservation_id in ids:
            try:
                settle(self._store, self._writer, due.tenant, reservation_id)
            except AppError as error:
                log.warning(
                    "reservation could not be settled and waits",
                    reservation_id=reservation_id,
                    error=str(error),
                )
                SETTLED.labels("postponed").inc()
                with self._store.transaction(due.tenant, now=due.now) as tx:
                    postpone(tx, reservation_id)
        if len(ids) == BATCH or backfill(self._store, due.tenant):
            return Settled(due.now)
        with self._store.transaction(due.tenant, now=due.now) as tx:
            index.recount(tx)
        with self._store.transaction(due.tenant, now=due.now) as tx:
            return Settled(next_settle_time(tx))
