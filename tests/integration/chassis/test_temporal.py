"""The link to Temporal: starts and signals from the outbox, and answers for a synchronous caller."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus

from deploy.local.stores import PrivateStores
from services.chassis.errors import AppError, RuleViolation, Unavailable
from services.chassis.ids import new_id
from services.chassis.temporal import TemporalLink, WorkerBundle, run_workers
from tests.integration.chassis.asking import (
    QUEUE,
    AskWorkflow,
    CountWorkflow,
    FaultyWorkflow,
    Question,
    answer_question,
)
from tests.support.until import until


@pytest.fixture(scope="module")
def link(stores: PrivateStores) -> Iterator[TemporalLink]:
    """A link, and a worker in a thread."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    bundle = WorkerBundle(QUEUE, [AskWorkflow, CountWorkflow, FaultyWorkflow], [answer_question])
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(
            run_workers(stores.temporal_address, "default", [bundle], stop)
        )
    )
    thread.start()
    link = TemporalLink(stores.temporal_address, "default")
    yield link
    link.close()
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def ask(
    link: TemporalLink,
    text: str,
    workflow_id: str,
    timeout_s: float = 20,
    workflow: str = "AskWorkflow",
) -> str | None:
    """Run the workflow and wait for what it tells."""
    return link.ask(
        workflow,
        Question(text),
        tenant_id=new_id(),
        workflow_id=workflow_id,
        queue=QUEUE,
        update="answer",
        result=str,
        timeout_s=timeout_s,
    )


def test_a_synchronous_caller_gets_the_answer_in_the_same_call_and_a_repeat_the_same(
    link: TemporalLink,
) -> None:
    workflow_id = new_id()
    assert ask(link, "one", workflow_id) == "answer to one"
    until(lambda: ended(link, workflow_id))
    # One that has ended is not run again.
    assert ask(link, "one", workflow_id) == "answer to one"


def test_callers_who_ask_the_same_at_once_get_the_same_answer(link: TemporalLink) -> None:
    workflow_id = new_id()
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: ask(link, "all", workflow_id), range(4))) == {"answer to all"}


def ended(link: TemporalLink, workflow_id: str) -> bool:
    """Tell whether a workflow is over."""

    async def look(client: Client) -> bool:
        found = await client.get_workflow_handle(workflow_id).describe()
        return found.status is WorkflowExecutionStatus.COMPLETED

    return link.run(look)


def test_one_that_cannot_answer_now_is_unavailable(link: TemporalLink) -> None:
    """Its worker fails at it: that is no fault of the question, which may be asked again."""
    workflow_id = new_id()
    with pytest.raises(Unavailable):
        ask(link, "x", workflow_id, workflow="FaultyWorkflow")

    async def end(client: Client) -> None:
        await client.get_workflow_handle(workflow_id).terminate()

    link.run(end)


def test_a_refusal_comes_back_as_it_was_raised(link: TemporalLink) -> None:
    with pytest.raises(AppError) as refused:
        ask(link, "refused", new_id())
    assert isinstance(refused.value, RuleViolation)
    assert (refused.value.reason, refused.value.zh) == ("NOT_TODAY", "今天不行：{周日}")
    assert refused.value.metadata == {"day": "{周日}"}


def test_a_start_with_signal_wakes_the_one_that_runs(link: TemporalLink) -> None:
    """Delivered twice by the relay, it is one workflow with two wake-ups."""
    workflow_id = new_id()
    start = {
        "workflow": "CountWorkflow",
        "id": workflow_id,
        "queue": QUEUE,
        "payload": {"text": ""},
        "signal": "wake",
    }
    assert link.deliver([("workflow_start", start)]) == [None]
    assert link.deliver([("workflow_start", start)]) == [None]

    async def result(client: Client) -> int:
        handle = client.get_workflow_handle(workflow_id, result_type=int)
        count: int = await handle.result()
        return count

    assert link.run(result) == 2


def test_a_start_delivered_again_after_the_end_runs_nothing(link: TemporalLink) -> None:
    workflow_id = new_id()
    start = {
        "workflow": "AskWorkflow",
        "id": workflow_id,
        "queue": QUEUE,
        "payload": {"text": "x"},
        "signal": "",
    }
    assert link.deliver([("workflow_start", start)]) == [None]
    until(lambda: ended(link, workflow_id))
    assert link.deliver([("workflow_start", start)]) == [None]
    # It ended before anybody asked: where its answer is kept is the asker's business.
    assert ask(link, "x", workflow_id) is None


def test_a_tenant_with_few_workflows_does_not_wait_behind_one_with_many(stores: PrivateStores) -> None:
    """Issue 9: one tenant cannot starve another. What waits is handed out by tenants in turn, not by age."""
    queue, order = "chassis-fair-test", list[str]()

    @activity.defn(name="answer_question")
    def note(question: Question) -> str:
        order.append(question.text)
        return question.text

    link = TemporalLink(stores.temporal_address, "default")
    tenants = {"large": new_id(), "small": new_id()}
    texts = ["large"] * 80 + ["small"] * 4
    for text in texts:
        start = {"workflow": "AskWorkflow", "id": new_id(), "queue": queue, "payload": {"text": text}}
        assert link.deliver([("workflow_start", {**start, "signal": "", "tenant": tenants[text]})]) == [None]
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    bundle = WorkerBundle(queue, [AskWorkflow], [note])
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(
            run_workers(stores.temporal_address, "default", [bundle], stop)
        )
    )
    thread.start()
    try:
        until(lambda: len(order) >= len(texts), timeout_s=60)
    finally:
        link.close()
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    turns = [turn for turn, text in enumerate(order) if text == "small"]
    # By age they would be the last four of all.
    assert sum(turns) / len(turns) < len(texts) / 2, turns


def test_a_signal_for_one_that_has_ended_is_no_error(link: TemporalLink) -> None:
    workflow_id = new_id()
    ask(link, "x", workflow_id)
    until(lambda: ended(link, workflow_id))
    assert link.deliver([("workflow_signal", {"id": workflow_id, "signal": "wake", "payload": None})]) == [
        None
    ]


def test_a_server_that_is_away_is_unavailable_and_found_again(
    link: TemporalLink, stores: PrivateStores
) -> None:
    server = stores.processes.get("temporal")
    if server is None:
        pytest.fail("this test kills its own server: run it without TEMPORAL_ADDRESS")
    server.kill()
    with pytest.raises(Unavailable):
        ask(link, "x", new_id(), timeout_s=1)
    server.start()

    def answered() -> bool:
        try:
            return ask(link, "back", new_id()) == "answer to back"
        except Unavailable:
            return False

    until(answered, timeout_s=30)


def test_what_workflows_and_activities_come_to_is_measured(link: TemporalLink) -> None:
    """An answer, and a refusal that nobody tries again."""

    def runs(outcome: str) -> float:
        return value("crm_workflows_ended_total", queue=QUEUE, workflow="AskWorkflow", outcome=outcome)

    def activities(outcome: str) -> float:
        name = "crm_activity_seconds_count"
        return value(name, queue=QUEUE, activity="answer_question", outcome=outcome)

    answered, refused, well = activities("done"), activities("refused"), runs("done")
    assert ask(link, "hello", new_id())
    with pytest.raises(AppError):
        ask(link, "refused", new_id())
    assert (activities("done") - answered, activities("refused") - refused) == (1, 1)
    # The caller has its answer a moment before the run ends.
    until(lambda: runs("done") > well)


def value(name: str, **labels: str) -> float:
    """Return what Prometheus would read."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
