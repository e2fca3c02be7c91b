"""Two small workflows for the tests of the link to Temporal."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from services.chassis.errors import RuleViolation
    from services.chassis.temporal import application_error

QUEUE = "chassis-test"


@dataclass
class Question:
    """What the workflow is asked."""

    text: str


@activity.defn
def answer_question(question: Question) -> str:
    """Answer, or refuse as a use case would."""
    if question.text == "refused":
        raise application_error(
            RuleViolation("NOT_TODAY", "今天不行：{day}", "Not today: {day}", day="{周日}")
        )
    return f"answer to {question.text}"


@workflow.defn
class AskWorkflow:
    """One activity, one answer for whoever asks."""

    def __init__(self) -> None:
        self._answer = ""
        self._failure: ActivityError | None = None

    @workflow.run
    async def run(self, question: Question) -> None:
        """Ask the activity, and tell before the end."""
        try:
            self._answer = await workflow.execute_activity(
                answer_question, question, start_to_close_timeout=timedelta(seconds=5)
            )
        except ActivityError as failure:
            self._failure = failure
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.update
    async def answer(self) -> str:
        """Tell what the activity said."""
        await workflow.wait_condition(lambda: bool(self._answer or self._failure))
        if self._failure:
            raise self._failure
        return self._answer


@workflow.defn
class FaultyWorkflow:
    """Fails at its first task again and again, as one with a bug does, or one whose worker is too busy."""

    @workflow.run
    async def run(self, question: Question) -> None:
        """Fail."""
        raise KeyError(question.text)

    @workflow.update
    async def answer(self) -> str:
        """Tell nothing."""
        return ""


@workflow.defn
class CountWorkflow:
    """Counts the signals it gets."""

    def __init__(self) -> None:
        self.wakes = 0

    @workflow.run
    async def run(self, question: Question) -> int:
        """Wait for two wake-ups."""
        await workflow.wait_condition(lambda: self.wakes >= 2)
        return self.wakes

    @workflow.signal
    def wake(self) -> None:
        """Count."""
        self.wakes += 1
