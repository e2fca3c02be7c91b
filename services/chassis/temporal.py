"""Temporal as the services use it: a link for synchronous code, and the worker's runner.

Workflows and their payloads are plain dataclasses; ids and queues come from each service's
workflows/contracts.py. Starting a workflow whose id runs already, or ran, is no error and has no second effect.
Each runs in its tenant's name, and what it starts does too: where more wait than the workers can take, Temporal hands
out one tenant's after the other's (task queue fairness, server 1.29 or later with matching.enableFairness; an older one
hands out what came first).
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.exceptions import TemporalError as BaseTemporalError
from temporalio.service import RPCError, RPCStatusCode, TLSConfig
from temporalio.worker import Worker

from services.chassis.errors import BY_CODE, AppError, InvalidInput, Unavailable
from services.chassis.logging import get_logger
from services.chassis.temporal_measures import Measured

log = get_logger(__name__)

T = TypeVar("T")

# What a call gets from a server that is away, or that died with the call in its hands: ids make a repeat safe.
AWAY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.UNKNOWN,
)

# What a question gets from a workflow that is there and cannot answer now: its worker failed at it, or has too much to
# do. It goes on; asked again, it answers.
NOT_READY = (
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.NOT_FOUND,
)

# How long a synchronous caller waits for Temporal's word, in seconds.
CALL_TIMEOUT_S = 10.0


def target_of(address: str) -> tuple[str, TLSConfig | bool]:
    """Return host and port of Temporal's frontend, and what goes with TLS: False without it.

    TLS is tls://host:port, with the PEM files `cafile` (absent: the machine's own CAs), and `certfile` and `keyfile`
    where the server asks for a certificate, in the query, as AMQP_URL has them.
    """
    parts = urlsplit(address)
    if parts.scheme != "tls":
        return address, False
    given = {name: Path(values[-1]).read_bytes() for name, values in parse_qs(parts.query).items()}
    return parts.netloc, TLSConfig(
        server_root_ca_cert=given.get("cafile"),
        client_cert=given.get("certfile"),
        client_private_key=given.get("keyfile"),
    )


class TemporalLink:
    """A client for threads: an event loop of its own, connected at the first use and again after a loss."""

    def __init__(self, address: str, namespace: str) -> None:
        self._address = address
        self._namespace = namespace
        self._client: Client | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="temporal-link", daemon=True)
        self._thread.start()

    async def client(self) -> Client:
        """Return the client, on the link's own loop."""
        if self._client is None:
            target, tls = target_of(self._address)
            self._client = await Client.connect(target, namespace=self._namespace, tls=tls, lazy=True)
        return self._client

    def run(self, work: Callable[[Client], Coroutine[Any, Any, T]], timeout_s: float = CALL_TIMEOUT_S) -> T:
        """Run a coroutine of the client and wait; raises Unavailable when Temporal does not answer in time."""

        async def call() -> T:
            return await work(await self.client())

        future = asyncio.run_coroutine_threadsafe(call(), self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise _unavailable() from None
        except RuntimeError as error:
            # What the SDK raises for a server that was never reached.
            if "connect" in str(error).lower():
                raise _unavailable() from error
            raise
        except RPCError as error:
            if error.status in AWAY:
                raise _unavailable() from error
            raise

    def ask(
        self,
        workflow: str,
        payload: Any,
        *,
        tenant_id: str,
        workflow_id: str,
        queue: str,
        update: str,
        result: type[T],
        timeout_s: float,
        task_timeout: timedelta | None = None,
    ) -> T | None:
        """Start a workflow, or find the one of that id, and wait for what its update answers, in one call.

        tenant_id: whose it is. task_timeout: how long a worker may be silent with one of its tasks in its hands, None
        for Temporal's own 10 s. A repeat gets the same answer. None for a workflow that ended before anybody asked:
        whoever asks knows where its answer is kept. Raises the AppError that an activity raised; Unavailable when it
        takes longer than `timeout_s`: it goes on, and the same call later finds its answer.
        """

        async def work(client: Client) -> T:
            start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
                workflow,
                payload,
                id=workflow_id,
                task_queue=queue,
                task_timeout=task_timeout,
                priority=Priority(fairness_key=tenant_id),
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            )
            try:
                # One update for a workflow: whoever asks again waits for the same answer, and none piles up.
                answer: T = await client.execute_update_with_start_workflow(
                    update, id=update, start_workflow_operation=start, result_type=result
                )
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                raise asyncio.CancelledError from None
            finally:
                # The operation keeps an error of its own, which somebody has to look at.
                with contextlib.suppress(Exception):
                    await start.workflow_handle()
            return answer

        try:
            return self.run(work, timeout_s)
        except WorkflowUpdateFailedError as error:
            refused = app_error(error)
            # Else its worker is older than the question: the workflow goes on, and whoever asks again finds its end.
            raise (refused if isinstance(refused, AppError) else _unavailable()) from error
        except CancelledError:
            raise _unavailable() from None
        except RPCError as error:
            if error.status in NOT_READY:
                raise _unavailable() from error
            raise
        except WorkflowAlreadyStartedError:
            return None

    def deliver(self, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Sequence[BaseException | None]:
        """Deliver outbox rows, workflow starts and signals, side by side; return for each why it was not taken."""

        async def work(client: Client) -> Sequence[BaseException | None]:
            return await asyncio.gather(*(_deliver(client, *row) for row in rows), return_exceptions=True)

        try:
            return self.run(work)
        except Exception as error:
            return [error] * len(rows)

    def has_enough(self, bodies: Sequence[Mapping[str, Any]]) -> bool:
        """Workflows wait for their workers in Temporal, each step in turn with everybody else's."""
        return False

    def reset(self) -> None:
        """Nothing to drop: the client reconnects by itself."""

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()


def _unavailable() -> Unavailable:
    return Unavailable(
        "WORKFLOWS_UNAVAILABLE", "流程服务暂不可用，请稍后重试", "Workflows are unavailable; try later"
    )


async def _deliver(client: Client, kind: str, body: Mapping[str, Any]) -> None:
    if kind == "workflow_signal":
        try:
            await client.get_workflow_handle(body["id"]).signal(body["signal"], body["payload"])
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            log.info("signal came after the workflow's end", workflow_id=body["id"], signal=body["signal"])
        return
    try:
        await client.start_workflow(
            body["workflow"],
            body["payload"],
            id=body["id"],
            task_queue=body["queue"],
            # The release before wrote none.
            priority=Priority(fairness_key=body.get("tenant")),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE
            if body["signal"]
            else WorkflowIDReusePolicy.REJECT_DUPLICATE,
            start_signal=body["signal"] or None,
        )
    except WorkflowAlreadyStartedError:
        log.info("workflow ran before", workflow_id=body["id"])


def application_error(error: AppError) -> ApplicationError:
    """Return an AppError as activities raise it: its type is the reason, its details bring it back."""
    details = {"code": error.code, "zh": error.zh, "en": error.en, "metadata": error.metadata}
    return ApplicationError(str(error), details, type=error.reason, non_retryable=not error.retryable)


def app_error(failure: BaseException) -> Exception:
    """Return the AppError at the root of a workflow's failure, or the failure itself."""
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ApplicationError) and cause.details and isinstance(cause.details[0], dict):
            return rebuild(cause.type or "", cause.details[0])
        cause = cause.__cause__
    return failure if isinstance(failure, Exception) else RuntimeError(str(failure))


def rebuild(reason: str, details: Mapping[str, Any]) -> AppError:
    """Return the AppError that was taken apart into these details."""
    # The texts are finished: braces in them are not templates any more.
    zh, en = (details[name].replace("{", "{{").replace("}", "}}") for name in ("zh", "en"))
    metadata = dict(details["metadata"])
    if details["code"] == InvalidInput.code:
        return InvalidInput(metadata.pop("field", ""), reason, zh, en, **metadata)
    kind = BY_CODE.get(details["code"], AppError)
    return kind(reason, zh, en, **metadata)


@dataclass(frozen=True)
class WorkerBundle:
    """What one service's worker hosts: its queue, workflows and activities (plain functions in threads)."""

    queue: str
    workflows: Sequence[type]
    activities: Sequence[Callable[..., Any]]


async def run_workers(
    address: str, namespace: str, bundles: Sequence[WorkerBundle], stop: asyncio.Event
) -> None:
    """Host every bundle until `stop` is set; waits for Temporal to come up, lets activities finish at the end."""
    client = await connect(address, namespace, stop)
    if client is None:
        return
    with ThreadPoolExecutor(max_workers=16, thread_name_prefix="activity") as threads:
        workers = [
            Worker(
                client,
                task_queue=bundle.queue,
                workflows=bundle.workflows,
                activities=bundle.activities,
                activity_executor=threads,
                interceptors=[Measured()],
                max_concurrent_activities=8,
                graceful_shutdown_timeout=timedelta(seconds=5),
                # A worker that died holds up its workflows' next step no longer than this.
                sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
            )
            for bundle in bundles
        ]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        stopping.cancel()
        await asyncio.gather(*running)


async def connect(address: str, namespace: str, stop: asyncio.Event) -> Client | None:
    """Return a connected client, however long it takes; None when `stop` is set before."""
    while not stop.is_set():
        try:
            target, tls = target_of(address)
            return await Client.connect(target, namespace=namespace, tls=tls)
        except (RuntimeError, RPCError, BaseTemporalError) as error:
            log.warning("Temporal is not there yet", error=str(error))
            try:
                await asyncio.wait_for(stop.wait(), 1)
            except TimeoutError:
                continue
    return None


__all__ = [
    "TemporalLink",
    "WorkerBundle",
    "WorkflowExecutionStatus",
    "app_error",
    "application_error",
    "run_workers",
]
