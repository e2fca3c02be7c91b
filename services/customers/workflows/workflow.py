"""One workflow for each pool, and one for a tenant's customers without a pool: warns, then takes back."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from services.customers.workflows.contracts import (
        ASK_AGAIN,
        END_SILENT_EXPORT,
        FOLLOW_MERGE,
        FOLLOWED,
        HAND_OVER_BATCH,
        HAND_OVER_CUSTOMERS,
        SWEEP_BATCH,
        SWEEP_NOW,
        SWEEP_POOL,
        WATCH_EXPORT,
        FollowedMerge,
        HandOver,
        Sweep,
        SweepAt,
        Swept,
        WatchedExport,
    )

# How long services have to follow a merge before they are asked again.
FOLLOW_WITHIN = timedelta(minutes=1)
# Longest sleep: new customers may be due before the ones that were known.
LONGEST_SLEEP = timedelta(hours=1)
# A worker that died is noticed after this time: the activity says every second that it lives.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
# How often an export is looked at.
LOOK_AFTER = timedelta(minutes=5)
# Activities before the workflow continues as new, to keep its history short.
ROUNDS = 200


@workflow.defn(name=SWEEP_POOL)
class SweepPool:
    """Sweeps, sleeps until something is due or a signal comes, for ever. Carries no customer, only drives batches."""

    def __init__(self) -> None:
        self._now = False

    @workflow.signal(name=SWEEP_NOW)
    def sweep_now(self, _: None = None) -> None:
        """Sweep at once: a rule changed, or a lock ended."""
        self._now = True

    @workflow.run
    async def run(self, sweep: Sweep) -> None:
        """Sweep this pool's customers."""
        for _ in range(ROUNDS):
            self._now = False
            swept: Swept = await workflow.execute_activity(
                SWEEP_BATCH,
                SweepAt(sweep, workflow.now()),
                result_type=Swept,
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            if swept.more:
                continue
            sleep = LONGEST_SLEEP
            if swept.next_time:
                sleep = min(sleep, max(swept.next_time - workflow.now(), timedelta()))
            try:
                await workflow.wait_condition(lambda: self._now, timeout=sleep)
            except TimeoutError:
                continue
        workflow.continue_as_new(sweep)


@workflow.defn(name=HAND_OVER_CUSTOMERS)
class HandOverCustomers:
    """Hands a leaver's customers over in batches until nothing is left that fits anybody."""

    @workflow.run
    async def run(self, hand_over: HandOver) -> None:
        """Hand over."""
        for _ in range(ROUNDS):
            more: bool = await workflow.execute_activity(
                HAND_OVER_BATCH,
                hand_over,
                result_type=bool,
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            if not more:
                return
        workflow.continue_as_new(hand_over)


@workflow.defn(name=FOLLOW_MERGE)
class FollowMerge:
    """Waits until every service has moved its rows for a merge, or back; asks those again that have not."""

    def __init__(self) -> None:
        self._followed = False

    @workflow.signal(name=FOLLOWED)
    def followed(self, _: None = None) -> None:
        """Every service has followed."""
        self._followed = True

    @workflow.run
    async def run(self, merge: FollowedMerge) -> None:
        """See a merge through."""
        for _ in range(ROUNDS):
            try:
                await workflow.wait_condition(lambda: self._followed, timeout=FOLLOW_WITHIN)
                return
            except TimeoutError:
                waiting: bool = await workflow.execute_activity(
                    ASK_AGAIN,
                    merge,
                    result_type=bool,
                    start_to_close_timeout=timedelta(minutes=1),
                    retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
                )
                if not waiting:
                    return
        workflow.continue_as_new(merge)


@workflow.defn(name=WATCH_EXPORT)
class WatchExport:
    """Looks at an export now and then until it has ended, and ends it when its process is gone."""

    @workflow.run
    async def run(self, export: WatchedExport) -> None:
        """See an export to its end."""
        for _ in range(ROUNDS):
            await workflow.sleep(LOOK_AFTER)
            goes_on: bool = await workflow.execute_activity(
                END_SILENT_EXPORT,
                export,
                result_type=bool,
                start_to_close_timeout=timedelta(minutes=1),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            if not goes_on:
                return
        workflow.continue_as_new(export)
