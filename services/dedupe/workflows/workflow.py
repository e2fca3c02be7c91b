"""One workflow for each tenant settles reservations whose writer never confirmed them; one for each scan drives it."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from services.dedupe.workflows.contracts import (
        SCAN,
        SCAN_BATCHES,
        SETTLE,
        SETTLE_DUE,
        WAKE,
        ScanTenant,
        Settled,
        SettleDue,
        SettleTenant,
    )

# Longest sleep when no reservation waits.
LONGEST_SLEEP = timedelta(hours=1)
# A worker that is silent for so long is dead; it tells of itself before each transaction of a scan.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
# Rounds before the workflow continues as new, to keep its history short.
ROUNDS = 100


@workflow.defn(name=SETTLE)
class SettleReservations:
    """Sleeps until the next settle time or a signal, settles what is due, for ever."""

    def __init__(self) -> None:
        self._woken = False

    @workflow.signal(name=WAKE)
    def wake(self, _: None = None) -> None:
        """Look at once: a reservation was made while none was waited for."""
        self._woken = True

    @workflow.run
    async def run(self, settle: SettleTenant) -> None:
        """Settle this tenant's reservations."""
        for _ in range(ROUNDS):
            self._woken = False
            settled: Settled = await workflow.execute_activity(
                SETTLE_DUE,
                SettleDue(settle.tenant, workflow.now()),
                result_type=Settled,
                start_to_close_timeout=timedelta(minutes=2),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            sleep = LONGEST_SLEEP
            if settled.next_time:
                sleep = min(sleep, max(settled.next_time - workflow.now(), timedelta()))
            try:
                await workflow.wait_condition(lambda: self._woken, timeout=sleep)
            except TimeoutError:
                continue
        workflow.continue_as_new(settle)


@workflow.defn(name=SCAN)
class ScanDuplicates:
    """Drives a scan; where it is stands in the database."""

    @workflow.run
    async def run(self, scan: ScanTenant) -> None:
        """Scan until every customer was looked at."""
        for _ in range(ROUNDS):
            more: bool = await workflow.execute_activity(
                SCAN_BATCHES,
                scan,
                result_type=bool,
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            if not more:
                return
        workflow.continue_as_new(scan)
