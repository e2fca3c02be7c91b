"""Decisions that meet: whatever the interleaving, each step is decided once, by the rules' word."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from services.approvals.__main__ import SERVICE, handlers
from services.approvals.store.queries import whole
from services.approvals.store.tables import Decision
from services.approvals.usecases.approvals import decide, prepare
from services.approvals.usecases.approvers import Approvers
from services.chassis.db import Store
from services.chassis.errors import AppError
from services.chassis.ids import derive_id, new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from tests.support.running import emitted, event_of, take

MANAGERS = (new_id(), new_id())
DIRECTORS = (new_id(), new_id())


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    """Approvals' store alone."""
    runtime = SERVICE.runtime(settings, {})
    yield runtime.store
    runtime.store.close()


def opened(store: Store, tenant: Tenant) -> str:
    """Submit an order that needs both steps and open the first; return the approval's id."""
    data = {
        "orderId": new_id(),
        "number": "SO-1",
        "title": "空调",
        "amount": "20000",
        "submitterId": new_id(),
        "shown": [],
    }
    event = event_of(tenant, "orders", "order_submitted", data)
    take(store, handlers(), event)
    approval_id = derive_id("approval", event.id)
    with store.transaction(tenant) as tx:
        found = {index: Approvers(people) for index, people in enumerate((MANAGERS, DIRECTORS))}
        prepare(tx, approval_id, found)
    return approval_id


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    attempts=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(MANAGERS + DIRECTORS), st.booleans()),
        min_size=2,
        max_size=12,
    )
)
def test_simultaneous_decisions_leave_one_for_each_step(
    store: Store, main_tenant: Tenant, attempts: list[tuple[int, str, bool]]
) -> None:
    approval_id = opened(store, main_tenant)
    with store.transaction(main_tenant) as tx:
        shown_hash = whole(tx, approval_id).approval.shown_hash

    def attempt(given_attempt: tuple[int, str, bool]) -> tuple[int, str, bool] | None:
        index, decider_id, passed = given_attempt
        try:
            with store.transaction(main_tenant, decider_id) as tx:
                decide(
                    tx,
                    approval_id,
                    step_index=index,
                    decider_id=decider_id,
                    quoted_hash=shown_hash,
                    comment="",
                    passed=passed,
                )
        except AppError:
            return None
        return given_attempt

    with ThreadPoolExecutor(4) as threads:
        accepted = {done for done in threads.map(attempt, attempts) if done}
    with store.transaction(main_tenant) as tx:
        found = whole(tx, approval_id)
        rows = tx.session.scalars(select(Decision).where(Decision.approval_id == approval_id)).all()
    assert {(row.step_index, row.decider_id, row.passed) for row in rows} == accepted
    assert len({row.step_index for row in rows}) == len(rows)
    passed = {row.step_index for row in rows if row.passed}
    rejected = {row.step_index for row in rows if not row.passed}
    expected = "rejected" if rejected else "passed" if passed == {0, 1} else "open"
    assert found.approval.state == expected
    outcomes = [
        data
        for kind in ("approval_passed", "approval_rejected")
        for data in emitted(store, main_tenant, kind)
        if data["approvalId"] == approval_id
    ]
    assert len(outcomes) == (0 if expected == "open" else 1)
