"""The life of an approval: find its approvers, then wait, and remind of what waits too long.

It decides nothing: a decision is a row in approvals' store, and this workflow only hears of it.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from services.approvals.workflows.contracts import (
        ACTIVITY_TIMEOUT_S,
        ADVANCED,
        FINISHED,
        PEOPLE_CHANGED,
        PREPARE,
        REFRESH,
        REMIND,
        WORKFLOW,
        ApprovalStart,
        Reminder,
    )

# What fails is tried again until it works: a part is down, or nobody can decide yet.
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))


@workflow.defn(name=WORKFLOW)
class ApprovalWorkflow:
    """Prepare, then wait for the end; each time limit that passes without a step is one reminder.

    When somebody who is asked cannot decide any more, the approvers are found anew at once.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._open_step = -1
        self._finished = False
        self._people_changed = False

    @workflow.run
    async def run(self, start: ApprovalStart) -> None:
        """Run until the approval is decided."""
        open_step = await self._do(PREPARE, start)
        reminders = 0
        while open_step >= 0 and not self._finished:
            seen = self._steps
            limit = timedelta(seconds=start.step_time_limit_s)
            # The signal of a decision may have come before the answer that names an earlier step.
            current = max(open_step, self._open_step)
            if current < len(start.time_limits_s):
                limit = timedelta(seconds=start.time_limits_s[current])
            try:
                await workflow.wait_condition(
                    lambda: self._finished or self._people_changed or self._steps > seen,  # noqa: B023 - awaited within its round
                    timeout=limit,
                )
            except TimeoutError:
                reminders += 1
                open_step = await self._do(REMIND, Reminder(start.tenant, start.approval_id, reminders))
            if self._people_changed and not self._finished:
                self._people_changed = False
                open_step = await self._do(REFRESH, start)

    @workflow.signal(name=ADVANCED)
    def advanced(self, open_step: int | None = None) -> None:
        """A step was decided and the next, of this index, is open: its time begins."""
        self._steps += 1
        self._open_step = max(self._open_step, -1 if open_step is None else open_step)

    @workflow.signal(name=FINISHED)
    def finished(self, _: int | None = None) -> None:
        """The approval is decided, or was withdrawn."""
        self._finished = True

    @workflow.signal(name=PEOPLE_CHANGED)
    def people_changed(self, _: int | None = None) -> None:
        """Somebody who is asked, or will be, has left or may not decide any more."""
        self._people_changed = True

    async def _do(self, activity: str, argument: ApprovalStart | Reminder) -> int:
        """Run an activity; return the index of the step that is open after it, -1 if none is."""
        open_step: int = await workflow.execute_activity(
            activity,
            argument,
            result_type=int,
            start_to_close_timeout=timedelta(seconds=ACTIVITY_TIMEOUT_S),
            retry_policy=RETRY,
        )
        return open_step
