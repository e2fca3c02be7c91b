"""The worker killed with SIGKILL before and after each activity: the approval goes on once, as if nothing had been."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from services.approvals.store.queries import Whole, whole
from services.approvals.store.tables import Approval
from services.approvals.usecases.approvals import decide
from services.approvals.workflows.contracts import (
    PREPARE,
    QUEUE,
    REFRESH,
    REMIND,
    WORKFLOW,
    approval_workflow_id,
)
from services.chassis.ids import derive_id
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from tests.integration.approvals.conftest import Desk, finished
from tests.integration.approvals.test_approvers import switch_off
from tests.support.running import event_of, relaying
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[3]
MOMENTS = ("before", "after")


@pytest.fixture(scope="module")
def plans(
    tmp_path_factory: pytest.TempPathFactory,
    environment: Mapping[str, str],
    around: Settings,
    runtime: Runtime,
) -> Iterator[Path]:
    """The folder of the places to die at, the worker that dies there, and the relays."""
    folder = tmp_path_factory.mktemp("plans")
    addresses = {f"{name.upper()}_ADDRESS": address for name, address in around.addresses.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.approvals.dying_worker", str(folder)],
        env={**os.environ, **environment, **addresses},
        cwd=ROOT,
        stdin=subprocess.PIPE,
    )
    with relaying(runtime):
        yield folder
    assert process.stdin
    process.stdin.close()
    assert process.wait(60) == 0


def submitted(desk: Desk, plans: Path, submitter_id: str, place: str) -> str:
    """Submit an order whose worker dies at a place; return the approval's id."""
    data = {
        "orderId": derive_id(submitter_id, place),
        "number": "SO-1",
        "title": "空调",
        "amount": "20000.00",
        "submitterId": submitter_id,
        "shown": [{"name": "amount", "value": "20000.00"}],
    }
    event = event_of(desk.company.tenant, "orders", "order_submitted", data)
    approval_id = derive_id("approval", event.id)
    (plans / approval_id).write_text(place)
    desk.take(event)
    return approval_id


def look(desk: Desk, approval_id: str) -> Whole:
    """Return an approval as it is stored."""
    with desk.runtime.store.transaction(desk.company.tenant) as tx:
        return whole(tx, approval_id)


def pass_open_step(desk: Desk, approval_id: str) -> None:
    """Decide what is open, as its first approver."""
    found = look(desk, approval_id)
    index = found.approval.open_step
    with desk.runtime.store.transaction(desk.company.tenant) as tx:
        decide(
            tx,
            approval_id,
            step_index=index,
            decider_id=found.steps[index].approver_ids[0],
            quoted_hash=found.approval.shown_hash,
            comment="",
            passed=True,
        )


def hurry(desk: Desk, approval_id: str) -> str:
    """Run an approval's workflow a second time, with a limit of two seconds instead of days; return its id."""
    handle_id = f"{approval_workflow_id(approval_id)}-hurried"
    tenant = desk.company.tenant
    payload = {
        "tenant": {"id": tenant.id, "database": tenant.database},
        "approval_id": approval_id,
        "step_time_limit_s": 2,
        "time_limits_s": [],
    }
    start = {"workflow": WORKFLOW, "id": handle_id, "queue": QUEUE, "payload": payload, "signal": ""}
    assert desk.runtime.temporal.deliver([("workflow_start", start)]) == [None]
    return handle_id


@pytest.mark.timeout(300)
@pytest.mark.parametrize("desk", ["main"], indirect=True)
def test_an_approval_goes_on_through_kill_9_around_each_activity(desk: Desk, plans: Path) -> None:
    """Six approvals, each killed at its place; reminders come each once, leavers are replaced, all pass."""
    wang = desk.company.add("wang", "sales_manager")
    wu = desk.company.add("wu", "sales_manager")
    zhou = desk.company.add("zhou", "director")
    li = desk.company.add("li", "sales_rep")
    places = [f"{moment} {name}" for name in (PREPARE, REMIND, REFRESH) for moment in MOMENTS]
    ids = {place: submitted(desk, plans, li, place) for place in places}
    for approval_id in ids.values():
        until(lambda each=approval_id: look(desk, each).approval.open_step == 0, timeout_s=120)  # type: ignore[misc]  # bound in its round
        assert set(look(desk, approval_id).steps[0].approver_ids) == {wang, wu}
    hurried = [hurry(desk, ids[place]) for place in places if REMIND in place]
    for place in places:
        if REMIND in place:
            until(lambda each=ids[place]: look(desk, each).approval.reminders > 0, timeout_s=120)  # type: ignore[misc]  # bound in its round
    switch_off(desk, wang)
    for approval_id in ids.values():
        until(lambda each=approval_id: look(desk, each).steps[0].approver_ids == [wu], timeout_s=120)  # type: ignore[misc]  # bound in its round
        pass_open_step(desk, approval_id)
        assert look(desk, approval_id).steps[1].approver_ids == [zhou]
        pass_open_step(desk, approval_id)
    for handle_id in [*map(approval_workflow_id, ids.values()), *hurried]:
        until(lambda each=handle_id: finished(desk, each), timeout_s=120)  # type: ignore[misc]  # bound in its round
    assert {path.name for path in plans.glob("* *")} == {f"{key} {place}" for place, key in ids.items()}
    with desk.runtime.store.transaction(desk.company.tenant) as tx:
        rows = tx.session.scalars(select(Approval).where(Approval.id.in_(ids.values()))).all()
    assert {row.state for row in rows} == {"passed"}
