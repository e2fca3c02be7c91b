"""One workflow for each step of an import: drives its batches until none is left."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from services.customers.workflows.import_contracts import RUN_IMPORT, ImportStep

# A worker that died is noticed after this time: the activity says every second that it lives.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)


@workflow.defn(name=RUN_IMPORT)
class RunImport:
    """Carries no row: what is done and what is left stands in the database."""

    @workflow.run
    async def run(self, step: ImportStep) -> None:
        """Do one step of an import."""
        more = True
        while more:
            more = await workflow.execute_activity(
                step.kind.value,
                step,
                result_type=bool,
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
            )
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(step)
