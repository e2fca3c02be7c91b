"""One workflow for each tenant with contracts: expires those whose last day is over."""

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from datetime import timedelta

    from services.orders.workflows.contracts import EXPIRE, EXPIRY_WORKFLOW, ExpireAt, Expiry

# Between two looks: contracts end with a day.
PAUSE = timedelta(minutes=30)
# Looks before the workflow continues as new, to keep its history short.
ROUNDS = 200


@workflow.defn(name=EXPIRY_WORKFLOW)
class ExpireContracts:
    """Looks every half hour, for ever. It carries no contract, only drives batches."""

    @workflow.run
    async def run(self, expiry: Expiry) -> None:
        """Expire this tenant's contracts."""
        for _ in range(ROUNDS):
            more: bool = await workflow.execute_activity(
                EXPIRE,
                ExpireAt(expiry.tenant, workflow.now()),
                result_type=bool,
                start_to_close_timeout=timedelta(minutes=2),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            if not more:
                await workflow.sleep(PAUSE)
        workflow.continue_as_new(expiry)
