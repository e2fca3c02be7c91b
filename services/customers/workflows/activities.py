"""The activity that sweeps: batches of customers, each in its own transaction."""

from temporalio import activity

from services.chassis.db import Store
from services.chassis.logging import get_logger
from services.customers.usecases import sweeps
from services.customers.workflows.contracts import SWEEP_BATCH, SweepAt, Swept

log = get_logger(__name__)

# Batches of each step in one activity.
MOST_BATCHES = 20


class Activities:
    """The activities of customers over their store. batch: customers in one transaction."""

    def __init__(self, store: Store, batch: int = sweeps.BATCH) -> None:
        self._store = store
        self._batch = batch

    @activity.defn(name=SWEEP_BATCH)
    def sweep(self, sweep_at: SweepAt) -> Swept:
        """Apply the rule, warn, then take back; a repeat finds what is left.

        Stops behind a step that has more to do than one activity should, before the next step.
        """
        done = [0, 0, 0]
        for number, step in enumerate((sweeps.apply_rule, sweeps.warn, sweeps.reclaim)):
            for _ in range(MOST_BATCHES):
                with self._store.transaction(sweep_at.sweep.tenant, now=sweep_at.now) as tx:
                    count = step(tx, sweep_at.sweep.pool_id, self._batch)
                done[number] += count
                if count < self._batch:
                    break
            else:
                return self._swept(sweep_at, done, more=True)
        return self._swept(sweep_at, done, more=False)

    def _swept(self, sweep_at: SweepAt, done: list[int], *, more: bool) -> Swept:
        ruled, warned, reclaimed = done
        if any(done):
            log.info(
                "pool is swept",
                pool_id=sweep_at.sweep.pool_id,
                ruled=ruled,
                warned=warned,
                reclaimed=reclaimed,
            )
        with self._store.transaction(sweep_at.sweep.tenant, now=sweep_at.now) as tx:
            return Swept(warned, reclaimed, more, sweeps.next_due(tx, sweep_at.sweep.pool_id))
