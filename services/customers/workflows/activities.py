"""The activity that sweeps: batches of customers, each in its own transaction."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from temporalio import activity

from services.chassis.db import Store, Transaction
from services.chassis.logging import get_logger
from services.customers.usecases import sweeps
from services.customers.usecases.allocation import allocate
from services.customers.usecases.caps import adjust_caps
from services.customers.usecases.evidence import ANSWER_WITHIN
from services.customers.usecases.exports import end_silent_export
from services.customers.usecases.hand_overs import hand_over_batch
from services.customers.usecases.merges import ask_again
from services.customers.workflows.contracts import (
    ASK_AGAIN,
    END_SILENT_EXPORT,
    HAND_OVER_BATCH,
    SWEEP_BATCH,
    FollowedMerge,
    HandOver,
    SweepAt,
    Swept,
    WatchedExport,
)
from services.customers.workflows.import_activities import beating

log = get_logger(__name__)

# A step of a sweep: takes up to so many customers of a pool and returns how many; None: it has to wait.
Step = Callable[[Transaction, str, int], int | None]

# Batches of each step that run side by side, for the database has more than one core; and rounds in one activity.
LANES = 2
MOST_ROUNDS = 10
# People whose caps are adjusted in one transaction.
PEOPLE = 50


class Activities:
    """The activities of customers over their store. batch: customers in one transaction."""

    def __init__(self, store: Store, batch: int = sweeps.BATCH) -> None:
        self._store = store
        self._batch = batch

    @activity.defn(name=SWEEP_BATCH)
    def sweep(self, sweep_at: SweepAt) -> Swept:
        """Allocate, apply the rule, warn, then take back; a repeat finds what is left.

        Stops behind a step that has more to do than one activity should, before the next step.
        """
        with beating():
            return self._sweep(sweep_at)

    def _sweep(self, sweep_at: SweepAt) -> Swept:
        done = [0, 0, 0, 0]
        if not sweep_at.sweep.pool_id:
            self._adjust_caps(sweep_at)
        with self._store.transaction(sweep_at.sweep.tenant, now=sweep_at.now) as tx:
            ahead = sweeps.look(tx, sweep_at.sweep.pool_id)
        if not ahead.work:
            return Swept(0, 0, more=False, next_time=ahead.next_time)
        # What hangs on the batch before goes one by one, the rest in lanes: each takes rows that no other has locked.
        steps = (
            (allocate, 1, 1),
            (sweeps.apply_rule, self._batch, LANES),
            (sweeps.warn, self._batch, LANES),
            (sweeps.reclaim_what_is_known, self._batch, LANES),
        )
        for number, (step, batch, lanes) in enumerate(steps):
            for round_ in range(MOST_ROUNDS):
                # Mostly there is little: a single batch tells.
                counts = self._batches(step, sweep_at, batch, lanes if round_ else 1)
                taken = [count for count in counts if count is not None]
                done[number] += sum(taken)
                if len(taken) < len(counts):
                    return self._swept(sweep_at, done, more=False, held=True)
                if min(taken) < batch:
                    break
            else:
                return self._swept(sweep_at, done, more=True)
        return self._swept(sweep_at, done, more=False)

    def _batches(self, step: Step, sweep_at: SweepAt, batch: int, lanes: int) -> list[int | None]:
        """Do as many batches of a step side by side as there are lanes; return how many customers each took."""

        def work() -> int | None:
            with self._store.transaction(sweep_at.sweep.tenant, now=sweep_at.now) as tx:
                return step(tx, sweep_at.sweep.pool_id, batch)

        if lanes == 1:
            return [work()]
        with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as threads:
            # In our context, so that each tells of the same trace.
            working = [threads.submit(copy_context().run, work) for _ in range(lanes)]
            return [one.result() for one in working]

    def _adjust_caps(self, sweep_at: SweepAt) -> None:
        for _ in range(MOST_ROUNDS):
            with self._store.transaction(sweep_at.sweep.tenant, now=sweep_at.now) as tx:
                if adjust_caps(tx, PEOPLE) < PEOPLE:
                    return

    @activity.defn(name=HAND_OVER_BATCH)
    def hand_over(self, hand_over: HandOver) -> bool:
        """Hand a batch of a leaver's customers over; return whether more are left. A repeat finds what is left."""
        with beating(), self._store.transaction(hand_over.tenant, hand_over.actor_id) as tx:
            return hand_over_batch(tx, hand_over.hand_over_id, self._batch)

    @activity.defn(name=ASK_AGAIN)
    def ask_followers_again(self, merge: FollowedMerge) -> bool:
        """Ask services that have not followed a merge once more; return whether any is waited for."""
        with self._store.transaction(merge.tenant) as tx:
            return ask_again(tx, merge.merge_id, undo=merge.undo)

    @activity.defn(name=END_SILENT_EXPORT)
    def end_silent_export(self, export: WatchedExport) -> bool:
        """End an export as broken whose process is gone; return whether it goes on."""
        with self._store.transaction(export.tenant) as tx:
            return end_silent_export(tx, export.export_id)

    def _swept(self, sweep_at: SweepAt, done: list[int], *, more: bool, held: bool = False) -> Swept:
        allocated, ruled, warned, reclaimed = done
        if any(done):
            log.info(
                "pool is swept",
                pool_id=sweep_at.sweep.pool_id,
                allocated=allocated,
                ruled=ruled,
                warned=warned,
                reclaimed=reclaimed,
            )
        with self._store.transaction(sweep_at.sweep.tenant, now=sweep_at.now) as tx:
            next_time = sweeps.look(tx, sweep_at.sweep.pool_id).next_time
        if held:
            next_time = min(next_time or sweep_at.now + ANSWER_WITHIN, sweep_at.now + ANSWER_WITHIN)
        return Swept(warned, reclaimed, more, next_time)
