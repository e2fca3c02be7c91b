"""A workflow with as many activities as a conversion, all of them empty: what the server can do at most.

Its activities are the server's, each a task of its own, or local, all in one task as a conversion's.

python -m tests.bench.bare      works for it until terminated; the environment is a service's
"""

import asyncio
import os
from datetime import timedelta

from temporalio import activity, workflow

QUEUE = "bench"
WORKFLOW = "Bare"
ENDED = "ended"
# A conversion's: begin, plan, reserve, write_customer, finish.
ACTIVITIES = 5


@activity.defn
def nothing() -> None:
    """Do nothing."""


@workflow.defn(name=WORKFLOW)
class Bare:
    """As many activities as a conversion has, without any work."""

    def __init__(self) -> None:
        self._ended = False

    @workflow.update(name=ENDED)
    async def ended(self) -> None:
        """Wait for the end, as whoever converts does."""
        await workflow.wait_condition(lambda: self._ended)

    @workflow.run
    async def run(self, local: bool) -> None:
        """Run them one after the other."""
        for _ in range(ACTIVITIES):
            if local:
                await workflow.execute_local_activity(nothing, start_to_close_timeout=timedelta(seconds=6))
            else:
                await workflow.execute_activity(nothing, start_to_close_timeout=timedelta(seconds=6))
        self._ended = True
        await workflow.wait_condition(workflow.all_handlers_finished)


def main() -> None:
    """Be the worker."""
    # Not for the workflow's sandbox, which loads this file too.
    from services.chassis.settings import Settings
    from services.chassis.temporal import WorkerBundle, run_workers

    settings = Settings.read(os.environ)
    bundle = WorkerBundle(QUEUE, [Bare], [nothing])
    asyncio.run(
        run_workers(settings.temporal_address, settings.temporal_namespace, [bundle], asyncio.Event())
    )


if __name__ == "__main__":
    main()
