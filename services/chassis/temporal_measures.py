"""Rate, errors and duration of workflows and of their activities, for Prometheus.

Counted is what happened, not what is told again: a replay counts nothing, a workflow that only leaves a worker's memory
has not ended.
"""

import time
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

with workflow.unsafe.imports_passed_through():
    from services.chassis.metrics import ACTIVITY_SECONDS, WORKFLOWS_ENDED


class Measured(Interceptor):
    """Measure what a worker does."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - Temporal's own name
        """Stand before each activity."""
        return _MeasuredActivity(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - Temporal's own name
    ) -> type[WorkflowInboundInterceptor]:
        """Stand before each workflow."""
        return _CountedWorkflow


class _MeasuredActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - Temporal's own name
        begin, outcome = time.monotonic(), "failed"
        try:
            result = await super().execute_activity(input)
            outcome = "done"
        except ApplicationError as error:
            # A refusal is an answer: nobody tries it again.
            outcome = "refused" if error.non_retryable else "failed"
            raise
        finally:
            info = activity.info()
            ACTIVITY_SECONDS.labels(info.task_queue, info.activity_type, outcome).observe(
                time.monotonic() - begin
            )
        return result


class _CountedWorkflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - Temporal's own name
        try:
            result = await super().execute_workflow(input)
        except workflow.ContinueAsNewError:
            _count("continued")
            raise
        except FailureError:
            _count("failed")
            raise
        _count("done")
        return result


def _count(outcome: str) -> None:
    if not workflow.unsafe.is_replaying():
        info = workflow.info()
        WORKFLOWS_ENDED.labels(info.task_queue, info.workflow_type, outcome).inc()
