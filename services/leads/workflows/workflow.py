"""The conversion of a lead: whole or not at all, through any crash (F120 to F131).

Every step may be repeated and writes in one store only. A refusal of the business ends in `abort`, which first asks
customers whether the write happened after all: then the conversion goes forward instead of back.

The steps are local activities: a conversion is short, and one task of the worker carries it from begin to end, where a
task for each step would cost more than the steps do. What is lost by a worker that dies is which steps were done: the
next one takes them all again, from the first.
"""

from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from datetime import timedelta

    from services.leads.domain.conversion import ROUNDS
    from services.leads.workflows.contracts import (
        ABORT,
        ACTIVITY_TIMEOUT,
        BEGIN,
        ENDED,
        FINISH,
        PLAN,
        RESERVE,
        WORKFLOW,
        WRITE_CUSTOMER,
        Abort,
        ConversionRef,
        Refusal,
        Round,
        StepAnswer,
    )

# Marks the conversions that run their steps in one task; those that began before it run each as a task of its own.
IN_ONE_TASK = "steps in one task"
# A step that has to wait longer than this to be tried again waits in a timer, and no task is kept open for it.
LONGEST_PAUSE_IN_TASK = timedelta(seconds=1)
# Whatever is no refusal is tried again until it works: a part is down, or it is a fault of ours.
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=15))

Answer = TypeVar("Answer")


@workflow.defn(name=WORKFLOW)
class ConvertLead:
    """Begin, plan and reserve, write customer and contact, finish; or abort. Its answer is in the store."""

    def __init__(self) -> None:
        self._ended = False

    @workflow.update(name=ENDED)
    async def ended(self) -> None:
        """Wait for the end: whoever starts the conversion asks in the same call."""
        await workflow.wait_condition(lambda: self._ended)

    @workflow.run
    async def run(self, conversion: ConversionRef) -> None:
        """Carry the conversion to one of its two ends."""
        await self._carry(conversion)
        self._ended = True
        # Answers go out before the workflow is over, or those who asked would hear of an end without one.
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _carry(self, conversion: ConversionRef) -> None:
        begun = await _do(BEGIN, conversion, StepAnswer)
        if begun.ended:
            return
        refusal = begun.refusal or await _reserve(conversion) or await _step(WRITE_CUSTOMER, conversion)
        if refusal:
            aborted = await _do(ABORT, Abort(conversion, refusal), bool)
            if aborted:
                return
        await _step(FINISH, conversion)


async def _reserve(conversion: ConversionRef) -> Refusal | None:
    """Plan and reserve; look again when somebody else took a key in between."""
    refusal: Refusal | None = None
    for number in range(1, ROUNDS + 1):
        refusal = await _step(PLAN, Round(conversion, number))
        if refusal:
            return refusal
        refusal = await _step(RESERVE, conversion)
        if refusal is None or refusal.code != "ALREADY_EXISTS":
            return refusal
    return refusal


async def _step(activity: str, argument: ConversionRef | Round) -> Refusal | None:
    answer = await _do(activity, argument, StepAnswer)
    return answer.refusal


async def _do(activity: str, argument: ConversionRef | Round | Abort, result: type[Answer]) -> Answer:
    """Do a step, as often as it takes."""
    answer: Answer
    if not workflow.patched(IN_ONE_TASK):
        answer = await workflow.execute_activity(
            activity,
            argument,
            result_type=result,
            start_to_close_timeout=ACTIVITY_TIMEOUT,
            retry_policy=RETRY,
        )
        return answer
    answer = await workflow.execute_local_activity(
        activity,
        argument,
        result_type=result,
        start_to_close_timeout=ACTIVITY_TIMEOUT,
        retry_policy=RETRY,
        local_retry_threshold=LONGEST_PAUSE_IN_TASK,
    )
    return answer
