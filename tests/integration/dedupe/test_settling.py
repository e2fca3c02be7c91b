"""Settling: a reservation that nobody confirmed is confirmed or freed by its writer's word, in a real workflow."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from services.chassis.db import Store
from services.chassis.errors import Unavailable
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.domain.reservations import SETTLE_AFTER, ReservationState
from services.dedupe.store.tables import HeldKey, Reservation
from services.dedupe.usecases.reservations import reserve_keys
from services.dedupe.usecases.settling import settle
from services.dedupe.workflows.activities import Activities
from services.dedupe.workflows.contracts import QUEUE, SETTLE, WAKE, SettleTenant, settle_workflow_id
from services.dedupe.workflows.workflow import SettleReservations
from tests.support.histories import record

TEST_SERVER = str(Path(sys.executable).parent / "temporal-test-server")


class ScriptedWriter:
    """A writer that has written some reservations, and is down for others."""

    def __init__(self) -> None:
        self.written: set[str] = set()
        self.down_for: set[str] = set()
        self.asked: list[str] = []

    def has_written(self, tenant: Tenant, reservation_id: str) -> bool:
        self.asked.append(reservation_id)
        if reservation_id in self.down_for:
            raise Unavailable("SERVICE_UNAVAILABLE", "不可用", "unavailable")
        return reservation_id in self.written


@pytest.fixture
def writer() -> ScriptedWriter:
    """A writer that wrote nothing so far."""
    return ScriptedWriter()


@pytest.fixture
async def skipping(store: Store, writer: ScriptedWriter) -> AsyncIterator[WorkflowEnvironment]:
    """Temporal with time to skip, and dedupe's worker on it."""
    activities = Activities(store, writer)
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=TEST_SERVER
    ) as environment:
        with ThreadPoolExecutor(4) as threads:
            async with Worker(
                environment.client,
                task_queue=QUEUE,
                workflows=[SettleReservations],
                activities=[activities.settle_due],
                activity_executor=threads,
            ):
                yield environment


async def start(environment: WorkflowEnvironment, tenant: Tenant) -> WorkflowHandle[object, object]:
    """Wake the tenant's settling, as the outbox does."""
    handle: WorkflowHandle[object, object] = await environment.client.start_workflow(
        SETTLE, SettleTenant(tenant), id=settle_workflow_id(tenant.id), task_queue=QUEUE, start_signal=WAKE
    )
    return handle


def reserve(store: Store, tenant: Tenant, name: str, now: object = None) -> str:
    """Reserve a customer's name; return the reservation's id."""
    reservation = new_id()
    with store.transaction(tenant, now=now) as tx:  # type: ignore[arg-type]  # None is the clock's time
        reserve_keys(tx, reservation, [Subject(SubjectKind.CUSTOMER, new_id(), name, ())], "", "王小明")
    return reservation


def state(store: Store, tenant: Tenant, reservation: str) -> tuple[str, bool]:
    """Return a reservation's state and whether it holds keys."""
    with store.transaction(tenant) as tx:
        held = tx.session.scalars(select(HeldKey.digest).where(HeldKey.reservation_id == reservation)).all()
        found = tx.session.scalar(select(Reservation.state).where(Reservation.reservation_id == reservation))
        return found or "", bool(held)


KEPT = (ReservationState.CONFIRMED.value, True)
FREED = (ReservationState.CANCELLED.value, False)
WAITING = (ReservationState.RESERVED.value, True)


async def eventually(environment: WorkflowEnvironment, condition: Callable[[], bool]) -> None:
    """Let time pass in steps of a second until the condition holds; fail after ten minutes of skipped time."""
    for _ in range(600):
        if await asyncio.to_thread(condition):
            return
        await environment.sleep(timedelta(seconds=1))
    raise AssertionError("not within ten minutes")


async def test_a_reservation_is_settled_by_the_writers_word_after_its_time_and_not_before(
    skipping: WorkflowEnvironment, store: Store, writer: ScriptedWriter, main_tenant: Tenant
) -> None:
    now = await skipping.get_current_time()
    written, lost = (reserve(store, main_tenant, name, now) for name in ("已写公司", "未写公司"))
    writer.written.add(written)
    handle = await start(skipping, main_tenant)
    await skipping.sleep(SETTLE_AFTER - timedelta(seconds=5))
    assert writer.asked == []
    assert state(store, main_tenant, lost) == WAITING
    await eventually(skipping, lambda: state(store, main_tenant, lost) == FREED)
    assert state(store, main_tenant, written) == KEPT
    assert await skipping.get_current_time() < now + SETTLE_AFTER + timedelta(seconds=10)
    await record("dedupe", "settle", handle)


async def test_one_that_cannot_be_answered_for_waits_and_holds_up_no_other(
    skipping: WorkflowEnvironment, store: Store, writer: ScriptedWriter, main_tenant: Tenant
) -> None:
    now = await skipping.get_current_time()
    stuck, lost = (reserve(store, main_tenant, name, now) for name in ("悬空公司", "未写公司"))
    writer.down_for.add(stuck)
    await start(skipping, main_tenant)
    await eventually(skipping, lambda: state(store, main_tenant, lost) == FREED)
    assert state(store, main_tenant, stuck) == WAITING
    writer.down_for.clear()
    await eventually(skipping, lambda: state(store, main_tenant, stuck) == FREED)


async def test_a_reservation_that_woke_nobody_is_settled_too(
    skipping: WorkflowEnvironment, store: Store, writer: ScriptedWriter, main_tenant: Tenant
) -> None:
    """It counts on the earlier one's settle time, even when that one was confirmed at once."""
    now = await skipping.get_current_time()
    first = reserve(store, main_tenant, "在先公司", now)
    with store.transaction(main_tenant) as tx:
        tx.session.execute(
            update(Reservation)
            .where(Reservation.reservation_id == first)
            .values(state=ReservationState.CONFIRMED)
        )
    await start(skipping, main_tenant)
    await skipping.sleep(timedelta(seconds=30))
    late = reserve(store, main_tenant, "在后公司", now + timedelta(seconds=30))
    await eventually(skipping, lambda: state(store, main_tenant, late) == FREED)
    assert await skipping.get_current_time() < now + timedelta(seconds=30) + SETTLE_AFTER + timedelta(
        seconds=10
    )
    assert writer.asked == [late]


def test_a_release_frees_only_what_the_writer_did_not_write(
    store: Store, writer: ScriptedWriter, main_tenant: Tenant
) -> None:
    written, lost = (reserve(store, main_tenant, name) for name in ("已写公司", "未写公司"))
    writer.written.add(written)
    for reservation in (written, lost):
        settle(store, writer, main_tenant, reservation)
    assert state(store, main_tenant, written) == KEPT
    assert state(store, main_tenant, lost) == FREED
