"""One long-lived workflow for each tenant: sleep until a reminder is due or one is added, then sweep.

It holds no reminders: they are rows. A due time that passes while no worker runs is swept when one runs again.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from services.notify.workflows.contracts import (
        HEARTBEAT_TIMEOUT_S,
        ROUNDS,
        SWEEP,
        SWEEP_TIMEOUT_S,
        WAKE,
        WORKFLOW,
        Sweep,
        Sweeper,
        Swept,
    )

# A sweep that fails (the store is down) is tried again until it works.
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))


@workflow.defn(name=WORKFLOW)
class RemindersWorkflow:
    """Sweep a tenant's reminders for ever."""

    def __init__(self) -> None:
        self._woken = False

    @workflow.run
    async def run(self, sweeper: Sweeper) -> None:
        """Sweep and wait in turn, then continue as new."""
        for _ in range(ROUNDS):
            # Before the sweep: whoever wakes us during it has added a row that it may have missed.
            self._woken = False
            swept = await workflow.execute_activity(
                SWEEP,
                Sweep(sweeper.tenant, workflow.now().isoformat()),
                result_type=Swept,
                start_to_close_timeout=timedelta(seconds=SWEEP_TIMEOUT_S),
                heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_S),
                retry_policy=RETRY,
            )
            await self._wait(swept)
        workflow.continue_as_new(sweeper)

    @workflow.signal(name=WAKE)
    def wake(self) -> None:
        """A reminder was added."""
        self._woken = True

    async def _wait(self, swept: Swept) -> None:
        left = datetime.fromisoformat(swept.next_time) - workflow.now() if swept.next_time else None
        if left is None or left > timedelta():
            with suppress(TimeoutError):
                await workflow.wait_condition(lambda: self._woken, timeout=left)
