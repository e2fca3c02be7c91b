"""Approvals with its API, relays and worker, on a real identity, broker and Temporal."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import grpc
import pytest
from crm.approvals.v1 import approvals_pb2 as pb
from crm.approvals.v1.approvals_pb2_grpc import ApprovalsServiceStub
from temporalio.service import RPCError, RPCStatusCode

from services.approvals.__main__ import SERVICE, handlers, worker
from services.chassis.db import Event
from services.chassis.ids import new_id
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.chassis.temporal import WorkflowExecutionStatus
from services.identity.__main__ import SERVICE as IDENTITY
from tests.support.callers import Caller
from tests.support.running import event_of, relaying, take, working
from tests.support.served import served
from tests.support.staff import Company, new_company
from tests.support.until import until

SHOWN = [{"name": "名称", "value": "上海某某有限公司"}, {"name": "电话", "value": "138****8000"}]


@dataclass
class Desk:
    """A company whose submissions go through approvals."""

    company: Company
    runtime: Runtime
    stub: ApprovalsServiceStub

    def register(self, submitter_id: str, approver_id: str) -> str:
        """Submit a registration and return the customer's id."""
        customer_id = new_id()
        data = {
            "customerId": customer_id,
            "name": "上海某某有限公司",
            "approverId": approver_id,
            "submitterId": submitter_id,
            "shown": SHOWN,
            "reservationId": new_id(),
        }
        self.take(event_of(self.company.tenant, "customers", "registration_submitted", data))
        return customer_id

    def order(self, submitter_id: str, amount: str, order_id: str = "") -> str:
        """Submit an order and return its id."""
        order_id = order_id or new_id()
        data = {
            "orderId": order_id,
            "number": "SO-1",
            "title": "空调 10 台",
            "amount": amount,
            "submitterId": submitter_id,
            "shown": [{"name": "金额", "value": amount}],
        }
        self.take(event_of(self.company.tenant, "orders", "order_submitted", data))
        return order_id

    def take(self, event: Event) -> None:
        """Let approvals take an event."""
        take(self.runtime.store, handlers(), event)

    def listed(
        self, caller: Caller, view: pb.ApprovalView.ValueType = pb.APPROVAL_VIEW_INBOX
    ) -> list[pb.Approval]:
        """Return the caller's approvals of a view."""
        return list(caller(self.stub.ListApprovals, pb.ListApprovalsRequest(view=view)).approvals)

    def waiting(self, caller: Caller, subject_id: str) -> pb.Approval:
        """Return the approval of a subject in the caller's inbox, once it is there."""
        found = until(
            lambda: next((item for item in self.listed(caller) if item.subject_id == subject_id), None),
            timeout_s=20,
        )
        assert found
        return found

    def decision(
        self, approval: pb.Approval, *, passed: bool = True, step: int = -1, **changes: str
    ) -> pb.DecideApprovalRequest:
        """Return the request that decides the open step, or another."""
        return pb.DecideApprovalRequest(
            request_id=new_id(),
            approval_id=approval.approval_id,
            step_index=approval.open_step if step < 0 else step,
            decision=pb.DECISION_PASS if passed else pb.DECISION_REJECT,
            **{"shown_hash": approval.shown_hash, **changes},
        )


@pytest.fixture(scope="module")
def identity(settings: Settings) -> Iterator[str]:
    """Identity's address."""
    with served(IDENTITY, settings) as address:
        yield address


@pytest.fixture(scope="module")
def around(settings: Settings, identity: str) -> Settings:
    """Settings that know identity."""
    return replace(settings, addresses={**settings.addresses, "identity": identity})


@pytest.fixture(scope="module")
def runtime(around: Settings) -> Iterator[Runtime]:
    """Approvals without any process of its own."""
    runtime = SERVICE.runtime(around, {})
    yield runtime
    runtime.store.close()


@pytest.fixture(scope="module")
def running(runtime: Runtime) -> Iterator[None]:
    """Approvals' relays and worker."""
    with relaying(runtime), working(runtime, worker(runtime)):
        yield


@pytest.fixture(scope="module")
def stub(around: Settings) -> Iterator[ApprovalsServiceStub]:
    """Approvals, served."""
    with served(SERVICE, around) as address, grpc.insecure_channel(address) as channel:
        yield ApprovalsServiceStub(channel)


@pytest.fixture(scope="module")
def found_company(
    settings: Settings,
    environment: Mapping[str, str],
    identity: str,
    issuer_keys: Mapping[str, tuple[str, str]],
) -> Iterator[Callable[[str], Company]]:
    """What makes a company in a database."""
    commands = IDENTITY.runtime(settings, environment)
    yield lambda database: new_company(commands, identity, issuer_keys, database)
    commands.store.close()


@pytest.fixture(params=["main", "south"])
def desk(
    request: pytest.FixtureRequest,
    found_company: Callable[[str], Company],
    runtime: Runtime,
    stub: ApprovalsServiceStub,
) -> Desk:
    """A company in each of the databases in turn."""
    return Desk(found_company(request.param), runtime, stub)


def finished(desk: Desk, handle_id: str) -> bool:
    """Return whether a workflow is over; one that the relay has not begun yet is not."""
    try:
        description = desk.runtime.temporal.run(
            lambda client: client.get_workflow_handle(handle_id).describe()
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return description.status == WorkflowExecutionStatus.COMPLETED
