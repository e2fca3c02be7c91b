"""The workflow of an approval with time skipped: reminders at each limit, an end at the decision, replays."""

from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import update
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from services.approvals.__main__ import SERVICE, handlers
from services.approvals.store.queries import Whole, whole
from services.approvals.store.tables import Approval
from services.approvals.usecases.approvals import STAND_IN_NOTE, decide
from services.approvals.workflows.activities import ApprovalActivities
from services.approvals.workflows.contracts import (
    ADVANCED,
    FINISHED,
    PEOPLE_CHANGED,
    QUEUE,
    STEP_TIME_LIMIT_S,
    WORKFLOW,
    ApprovalStart,
    approval_workflow_id,
)
from services.approvals.workflows.workflow import ApprovalWorkflow
from services.chassis.db import Store
from services.chassis.ids import derive_id, new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from tests.support.histories import record
from tests.support.running import emitted, event_of, take
from tests.support.time_skipping import soon, time_skipping

LIMIT = timedelta(seconds=STEP_TIME_LIMIT_S)


@dataclass
class Roles:
    """A directory of a test's own making: who holds which role."""

    holders: dict[str, list[str]] = field(default_factory=dict)

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        return self.holders.get(role, [])

    def heads(self, tenant: Tenant, person_id: str, department_id: str) -> list[str]:
        return []

    def may(self, tenant: Tenant, actor_id: str, person_id: str, right: str) -> bool:
        return any(person_id in people for people in self.holders.values())


@dataclass
class Run:
    """An order's approval and its workflow at work."""

    store: Store
    tenant: Tenant
    roles: Roles
    environment: WorkflowEnvironment
    handle: WorkflowHandle[object, object]
    approval_id: str

    def look(self) -> Whole:
        """Return the approval as it is stored."""
        with self.store.transaction(self.tenant) as tx:
            return whole(tx, self.approval_id)

    def overdue(self) -> list[dict[str, object]]:
        """Return the reminders that were told."""
        return [
            data
            for data in emitted(self.store, self.tenant, "approval_step_overdue")
            if data["approvalId"] == self.approval_id
        ]

    def decide(self, decider_id: str) -> None:
        """Pass the open step."""
        approval = self.look().approval
        with self.store.transaction(self.tenant, decider_id) as tx:
            decide(
                tx,
                approval.id,
                step_index=approval.open_step,
                decider_id=decider_id,
                quoted_hash=approval.shown_hash,
                comment="",
                passed=True,
            )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Approvals' store, without a relay: the test delivers what the outbox would."""
    runtime = SERVICE.runtime(settings, {})
    yield runtime.store
    runtime.store.close()


@asynccontextmanager
async def running(store: Store, tenant: Tenant, roles: Mapping[str, list[str]]) -> AsyncIterator[Run]:
    """Submit an order of 20000 and run its workflow on a clock that skips."""
    data = {
        "orderId": new_id(),
        "number": "SO-1",
        "title": "空调",
        "amount": "20000",
        "submitterId": new_id(),
        "shown": [{"name": "金额", "value": "20000.00"}],
    }
    event = event_of(tenant, "orders", "order_submitted", data)
    take(store, handlers(), event)
    approval_id = derive_id("approval", event.id)
    directory = Roles(dict(roles))
    async with time_skipping() as environment:
        with ThreadPoolExecutor(4) as threads:
            worker = Worker(
                environment.client,
                task_queue=QUEUE,
                workflows=[ApprovalWorkflow],
                activities=ApprovalActivities(store, directory).all(),
                activity_executor=threads,
            )
            async with worker:
                handle: WorkflowHandle[object, object] = await environment.client.start_workflow(
                    WORKFLOW,
                    ApprovalStart(tenant, approval_id, STEP_TIME_LIMIT_S),
                    id=approval_workflow_id(approval_id),
                    task_queue=QUEUE,
                )
                yield Run(store, tenant, directory, environment, handle, approval_id)


async def test_each_time_limit_that_passes_is_one_reminder(store: Store, tenant: Tenant) -> None:
    """F197: the open step's approvers are told again every three days, whoever they are by then."""
    manager, successor, director = new_id(), new_id(), new_id()
    async with running(store, tenant, {"sales_manager": [manager], "director": [director]}) as run:
        await run.environment.sleep(LIMIT - timedelta(minutes=1))
        assert run.look().steps[0].approver_ids == [manager]
        assert run.overdue() == []
        await run.environment.sleep(timedelta(minutes=2))
        await soon(lambda: len(run.overdue()) == 1)
        run.roles.holders["sales_manager"] = [successor]
        await run.environment.sleep(LIMIT)
        await soon(lambda: len(run.overdue()) == 2)
        assert [data["approverIds"] for data in run.overdue()] == [[manager], [successor]]

        run.decide(successor)
        await run.handle.signal(ADVANCED)
        # The director's own three days begin with the director's step.
        await run.environment.sleep(LIMIT - timedelta(minutes=1))
        assert len(run.overdue()) == 2
        await run.environment.sleep(timedelta(minutes=2))
        await soon(lambda: len(run.overdue()) == 3)
        assert run.overdue()[-1]["approverIds"] == [director]
        run.decide(director)
        await run.handle.signal(FINISHED)
        await run.handle.result()
        await record("approvals", "reminded", run.handle)
    assert run.look().approval.state == "passed"


async def test_a_decision_in_time_needs_no_reminder(store: Store, main_tenant: Tenant) -> None:
    manager, director = new_id(), new_id()
    async with running(store, main_tenant, {"sales_manager": [manager], "director": [director]}) as run:
        await run.environment.sleep(timedelta(hours=1))
        run.decide(manager)
        await run.handle.signal(ADVANCED)
        run.decide(director)
        await run.handle.signal(FINISHED)
        await run.handle.result()
        await record("approvals", "passed", run.handle)
    assert run.overdue() == []


async def test_a_leaver_is_replaced_at_once(store: Store, main_tenant: Tenant) -> None:
    manager, successor, director = new_id(), new_id(), new_id()
    async with running(store, main_tenant, {"sales_manager": [manager], "director": [director]}) as run:
        await run.environment.sleep(timedelta(hours=1))
        run.roles.holders = {"sales_manager": [successor], "director": [director]}
        await run.handle.signal(PEOPLE_CHANGED)
        await soon(lambda: run.look().steps[0].approver_ids == [successor])
        run.decide(successor)
        await run.handle.signal(ADVANCED)
        run.decide(director)
        await run.handle.signal(FINISHED)
        await run.handle.result()
        await record("approvals", "leaver", run.handle)
    assert run.overdue() == []


async def test_while_nobody_can_decide_it_keeps_looking(store: Store, main_tenant: Tenant) -> None:
    async with running(store, main_tenant, {}) as run:
        await run.environment.sleep(timedelta(hours=1))
        assert run.look().approval.state == "preparing"
        boss = new_id()
        run.roles.holders["admin"] = [boss]
        await run.environment.sleep(timedelta(minutes=2))
        assert [step.approver_ids for step in run.look().steps] == [[boss], [boss]]
        assert run.look().steps[0].name.endswith(STAND_IN_NOTE)
        await run.handle.terminate()


async def test_a_step_that_was_decided_unheard_is_not_reminded_of(store: Store, main_tenant: Tenant) -> None:
    """The signal may come late: the store knows better, and the workflow ends by itself."""
    manager, director = new_id(), new_id()
    async with running(store, main_tenant, {"sales_manager": [manager], "director": [director]}) as run:
        await run.environment.sleep(timedelta(hours=1))
        with store.transaction(main_tenant) as tx:
            tx.session.execute(
                update(Approval).where(Approval.id == run.approval_id).values(state="rejected", open_step=-1)
            )
        await run.environment.sleep(LIMIT)
        await run.handle.result()
    assert run.overdue() == []
