"""One workflow for each tenant with a rule of pushes: sleeps until the next set time, then pushes."""

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from datetime import timedelta

    from services.leads.workflows.contracts import PUSH, PUSH_WORKFLOW, RULE_CHANGED, PushAt, PushLoop

# Looks before the workflow continues as new, to keep its history short.
ROUNDS = 200


@workflow.defn(name=PUSH_WORKFLOW)
class PushLeads:
    """Pushes at each set time, for ever, or until the rule has none. It carries no lead, only drives batches."""

    def __init__(self) -> None:
        self._changed = False

    @workflow.signal(name=RULE_CHANGED)
    def rule_changed(self) -> None:
        """Look at the rule anew."""
        self._changed = True

    @workflow.run
    async def run(self, loop: PushLoop) -> None:
        """Push this tenant's leads."""
        for _ in range(ROUNDS):
            self._changed = False
            wait_s: float = await workflow.execute_activity(
                PUSH,
                PushAt(loop.tenant, workflow.now()),
                result_type=float,
                start_to_close_timeout=timedelta(minutes=2),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            )
            # Without a time there is nothing to wait for but another rule.
            pause = timedelta(seconds=wait_s) if wait_s else None
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(lambda: self._changed, timeout=pause)
        workflow.continue_as_new(loop)
