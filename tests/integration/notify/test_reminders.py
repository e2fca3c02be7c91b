"""Reminders swept by their workflow, with time skipped: exactly one SMS each, whatever fails or dies meanwhile."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import OutcomeUnknown, RuleViolation, Unavailable, not_found
from services.chassis.ids import derive_id, new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.notify.__main__ import handlers
from services.notify.store.tables import Message, Reminder
from services.notify.workflows import contracts
from services.notify.workflows.activities import ReminderActivities
from services.notify.workflows.contracts import QUEUE, WAKE, WORKFLOW, Sweep, Sweeper, reminders_workflow_id
from services.notify.workflows.workflow import RemindersWorkflow
from tests.support.histories import record
from tests.support.running import event_of, take
from tests.support.time_skipping import soon, time_skipping


class Died(BaseException):
    """The process was killed here: nothing catches it."""


@dataclass
class World:
    """Orders, the SMS edge and identity as a test scripts them."""

    handled: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    without_mobile: set[str] = field(default_factory=set)
    managers: list[str] = field(default_factory=list)
    # SMS that the edge took, by id, and how often each was asked for.
    sent: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    # What the edge does at its next calls: fails before it takes the SMS, or loses its answer after.
    faults: list[str] = field(default_factory=list)

    def is_handled(self, tenant: Tenant, order_id: str) -> bool:
        if order_id in self.unknown:
            raise not_found("order", "订单", order_id)
        return order_id in self.handled

    def send_sms(self, tenant: Tenant, sms_id: str, person_id: str, text: str) -> None:
        self.asked[sms_id] += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "down":
            raise Unavailable("SERVICE_UNAVAILABLE", "不可用", "unavailable")
        if fault == "broken":
            raise ZeroDivisionError("a fault of ours")
        if person_id in self.without_mobile:
            raise RuleViolation("NO_MOBILE", "没有手机号", "no mobile")
        assert self.sent.setdefault(sms_id, text) == text
        if fault == "answer lost":
            raise OutcomeUnknown("DEADLINE_EXCEEDED", "超时", "timed out")

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        return self.managers


@dataclass
class Shop:
    """A tenant whose reminders are swept."""

    store: Store
    tenant: Tenant
    world: World
    environment: WorkflowEnvironment

    async def now(self) -> datetime:
        """Return the skipped time."""
        return await self.environment.get_current_time()

    async def generate(self, due_in: timedelta) -> str:
        """Generate an order whose reminder is due then, wake the sweeper as the outbox does; return its id."""
        order_id = new_id()
        due_time = await self.now() + due_in
        data = {
            "orderId": order_id,
            "number": f"SO-{order_id[-4:]}",
            "title": "空调",
            "ownerId": derive_id("owner", order_id),
            "amount": "100.00",
            "remindTime": due_time.isoformat(),
        }
        await asyncio.to_thread(
            take, self.store, handlers(), event_of(self.tenant, "orders", "order_generated", data)
        )
        await self.wake()
        return order_id

    async def wake(self) -> WorkflowHandle[object, object]:
        """Start or wake the sweeper."""
        handle: WorkflowHandle[object, object] = await self.environment.client.start_workflow(
            WORKFLOW,
            Sweeper(self.tenant),
            id=reminders_workflow_id(self.tenant.id),
            task_queue=QUEUE,
            start_signal=WAKE,
        )
        return handle

    def hear(self, event_type: str, order_id: str, version: int, detail: str = "") -> None:
        """Let the SMS edge tell what became of an order's SMS."""
        data = {"smsId": self.reminder(order_id).id, "detail": detail}
        take(self.store, handlers(), event_of(self.tenant, "telephony", event_type, data, version=version))

    def reminder(self, order_id: str) -> Reminder:
        """Return an order's reminder as it is stored."""
        with self.store.transaction(self.tenant) as tx:
            return tx.session.scalars(select(Reminder).where(Reminder.subject_id == order_id)).one()

    def state(self, order_id: str) -> str:
        """Return the state of an order's reminder."""
        return self.reminder(order_id).state

    def told(self, order_id: str) -> list[tuple[str, str]]:
        """Return (person, title) of the order's reminding messages."""
        with self.store.transaction(self.tenant) as tx:
            rows = tx.session.scalars(
                select(Message).where(Message.subject_id == order_id, Message.kind == "order_reminder")
            )
            return sorted((row.person_id, row.title_zh) for row in rows)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """Run notify's worker."""
        with ThreadPoolExecutor(4) as threads:
            async with Worker(
                self.environment.client,
                task_queue=QUEUE,
                workflows=[RemindersWorkflow],
                activities=ReminderActivities(self.store, self.world, self.world, self.world, {}).all(),
                activity_executor=threads,
            ):
                yield


@asynccontextmanager
async def shop(store: Store, tenant: Tenant) -> AsyncIterator[Shop]:
    """Open a shop on a clock that skips."""
    async with time_skipping() as environment:
        yield Shop(store, tenant, World(), environment)


async def test_an_unhandled_order_makes_one_sms_at_its_time(store: Store, tenant: Tenant) -> None:
    """F188, O16."""
    name = event_of(tenant, "identity", "tenant_created", {"tenantName": "云海"})
    take(store, handlers(), name)
    async with shop(store, tenant) as it, it.worker():
        order_id = await it.generate(timedelta(hours=2))
        await it.environment.sleep(timedelta(minutes=119))
        assert (it.state(order_id), it.world.sent) == ("pending", {})
        await it.environment.sleep(timedelta(minutes=2))
        await soon(lambda: it.state(order_id) == "queued")
        reminder = it.reminder(order_id)
        assert it.world.sent == {
            reminder.id: f"【云海CRM】订单 {reminder.number}（空调）已超过处理时限，请尽快处理。"
        }
        assert it.told(order_id) == [(reminder.person_id, "订单已超过处理时限")]
        await it.environment.sleep(timedelta(days=30))
        assert it.world.asked[reminder.id] == 1

        it.hear("sms_delivered", order_id, 3)
        it.hear("sms_sent", order_id, 2)
        it.hear("sms_failed", order_id, 4, "late")
        assert (it.state(order_id), it.reminder(order_id).detail) == ("delivered", "")


async def test_an_order_handled_in_time_makes_none(store: Store, main_tenant: Tenant) -> None:
    """F188, O15: by the event, or, when that lags, by asking orders at the last moment."""
    async with shop(store, main_tenant) as it, it.worker():
        heard = await it.generate(timedelta(hours=1))
        unheard = await it.generate(timedelta(hours=1))
        take(store, handlers(), event_of(main_tenant, "orders", "order_handled", {"orderId": heard}))
        it.world.handled.add(unheard)
        await it.environment.sleep(timedelta(hours=2))
        await soon(lambda: it.state(unheard) == "cancelled")
        assert it.state(heard) == "cancelled"
        assert it.world.sent == {}
        assert it.told(unheard) == []
        await record("notify", "swept", await it.wake())


async def test_an_order_handled_when_the_sms_is_on_its_way_changes_nothing(
    store: Store, main_tenant: Tenant
) -> None:
    async with shop(store, main_tenant) as it, it.worker():
        order_id = await it.generate(timedelta(0))
        await soon(lambda: it.state(order_id) == "queued")
        take(store, handlers(), event_of(main_tenant, "orders", "order_handled", {"orderId": order_id}))
        assert it.state(order_id) == "queued"


async def test_without_a_mobile_the_person_and_the_managers_are_told_in_the_app(
    store: Store, tenant: Tenant
) -> None:
    """O16."""
    async with shop(store, tenant) as it, it.worker():
        it.world.managers = [new_id()]
        order_id = await it.generate(timedelta(hours=1))
        it.world.without_mobile.add(it.reminder(order_id).person_id)
        await it.environment.sleep(timedelta(hours=2))
        await soon(lambda: it.state(order_id) == "in_app_only")
        assert it.told(order_id) == sorted(
            [
                (it.reminder(order_id).person_id, "订单已超过处理时限"),
                (it.world.managers[0], "团队订单已超过处理时限"),
            ]
        )
        assert it.world.sent == {}


@pytest.mark.parametrize("fault", ["down", "answer lost", "broken"])
async def test_an_edge_that_fails_is_asked_again_and_sends_once(
    store: Store, main_tenant: Tenant, fault: str
) -> None:
    async with shop(store, main_tenant) as it, it.worker():
        it.world.faults = [fault] * 3
        order_id = await it.generate(timedelta(hours=1))
        await it.environment.sleep(timedelta(hours=2))
        await soon(lambda: it.state(order_id) == "queued")
        reminder = it.reminder(order_id)
        assert list(it.world.sent) == [reminder.id]
        assert (it.world.asked[reminder.id], reminder.attempts) == (4, 3)


async def test_one_that_can_never_be_sent_holds_up_no_other(store: Store, main_tenant: Tenant) -> None:
    async with shop(store, main_tenant) as it, it.worker():
        lost = await it.generate(timedelta(minutes=1))
        it.world.unknown.add(lost)
        orders = [await it.generate(timedelta(minutes=2)) for _ in range(25)]
        await it.environment.sleep(timedelta(hours=1))
        await soon(lambda: all(it.state(order_id) == "queued" for order_id in orders))
        assert (it.state(lost), it.reminder(lost).detail) == ("failed", "ORDER_NOT_FOUND")
        assert len(it.world.sent) == 25


async def test_a_due_time_that_passes_while_no_worker_runs_is_seen_to_afterwards(
    store: Store, main_tenant: Tenant, settings: Settings
) -> None:
    """On a real Temporal: the test server does not skip time while nobody works."""
    client = await Client.connect(settings.temporal_address)
    it = Shop(store, main_tenant, World(), WorkflowEnvironment.from_client(client))
    async with it.worker():
        order_id = await it.generate(timedelta(seconds=3))
        first = await it.generate(timedelta(0))
        await soon(lambda: it.state(first) == "queued")
        assert it.state(order_id) == "pending"
    await soon(lambda: utc_now() > it.reminder(order_id).due_time)
    assert it.state(order_id) == "pending"
    async with it.worker():
        await soon(lambda: it.state(order_id) == "queued")
        assert len(it.world.sent) == 2
        await (await it.wake()).terminate()


async def test_a_sweeper_goes_on_as_a_new_run_and_forgets_nothing(
    store: Store, main_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "ROUNDS", 2)
    async with shop(store, main_tenant) as it, it.worker():
        orders = [await it.generate(timedelta(hours=hours)) for hours in range(1, 7)]
        first = (await it.wake()).result_run_id
        await it.environment.sleep(timedelta(hours=7))
        await soon(lambda: all(it.state(order_id) == "queued" for order_id in orders))
        assert (await it.wake()).result_run_id != first
        assert set(it.world.asked.values()) == {1}


@pytest.mark.parametrize("death", ["before handing over", "after handing over"])
def test_a_process_that_dies_in_the_middle_sends_exactly_one(
    store: Store, main_tenant: Tenant, death: str
) -> None:
    """Killed at the worst moments: the intent is written, so the order's handling changes nothing any more."""
    world = World()
    it = Shop(store, main_tenant, world, None)  # type: ignore[arg-type]  # no workflow runs here
    order_id = new_id()
    data = {
        "orderId": order_id,
        "number": "SO-1",
        "title": "空调",
        "ownerId": new_id(),
        "amount": "1.00",
        "remindTime": "2026-01-01T00:00:00+00:00",
    }
    take(store, handlers(), event_of(main_tenant, "orders", "order_generated", data))
    sweep = Sweep(main_tenant, "2026-01-01T00:00:01+00:00")

    class Dying(World):
        """The edge, in whose call the process dies."""

        def send_sms(self, tenant: Tenant, sms_id: str, person_id: str, text: str) -> None:
            if death == "after handing over":
                world.send_sms(tenant, sms_id, person_id, text)
            raise Died

    dying = ReminderActivities(store, world, Dying(), world, {})
    with pytest.raises(Died):
        ActivityEnvironment().run(dying.sweep, sweep)
    assert it.state(order_id) == "sending"
    # The order is handled meanwhile, and the edge may tell of the SMS before we are back.
    world.handled.add(order_id)
    take(store, handlers(), event_of(main_tenant, "orders", "order_handled", {"orderId": order_id}))
    if death == "after handing over":
        it.hear("sms_sent", order_id, 2)
    ActivityEnvironment().run(ReminderActivities(store, world, world, world, {}).sweep, sweep)
    assert list(world.sent) == [it.reminder(order_id).id]
    assert it.state(order_id) == ("sent" if death == "after handing over" else "queued")
