"""One workflow for each tenant: warns the owners of neglected leads, then takes these back into the pool."""

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from datetime import timedelta

    from services.leads.workflows.contracts import POOL_WORKFLOW, SWEEP, PoolSweep, SweepAt

# Between two looks: rules count in days.
PAUSE = timedelta(hours=1)
# Looks before the workflow continues as new, to keep its history short.
ROUNDS = 200


@workflow.defn(name=POOL_WORKFLOW)
class SweepLeadPool:
    """Sweeps every hour, for ever. It carries no lead, only drives batches."""

    @workflow.run
    async def run(self, sweep: PoolSweep) -> None:
        """Sweep this tenant's pool."""
        for _ in range(ROUNDS):
            more: bool = await workflow.execute_activity(
                SWEEP,
                SweepAt(sweep.tenant, workflow.now()),
                result_type=bool,
                start_to_close_timeout=timedelta(minutes=2),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            if not more:
                await workflow.sleep(PAUSE)
        workflow.continue_as_new(sweep)
