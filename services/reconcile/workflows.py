"""Which workflows have to run, as the tables say; one that does not is started anew, with its own id."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Select, select
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from services.approvals.domain.steps import ApprovalState
from services.approvals.store.tables import Approval
from services.approvals.usecases.approvals import workflow_of
from services.chassis.db import Transaction, WorkflowStart
from services.chassis.temporal import TemporalLink
from services.customers.store.rules import sweep_start
from services.customers.store.tables import Pool
from services.customers.store.tables import Settings as CustomerSettings
from services.customers.workflows.contracts import Sweep
from services.dedupe.domain.reservations import ReservationState
from services.dedupe.store.tables import Reservation
from services.dedupe.workflows import contracts as dedupe
from services.leads.store.tables import PushRule
from services.leads.store.tables import Settings as LeadSettings
from services.leads.workflows import contracts as leads
from services.notify.domain.reminders import ReminderState
from services.notify.store.tables import Reminder
from services.notify.workflows import contracts as notify
from services.orders.domain.contracts import ContractState
from services.orders.store.tables import Contract
from services.orders.workflows import contracts as orders

# Temporal is asked about one workflow at a time; longest answer.
PATIENCE: Final = timedelta(seconds=5)


def of_customers(tx: Transaction) -> list[WorkflowStart]:
    """The sweeps: of what belongs to no pool, and of each pool."""
    starts = [sweep_start(Sweep(tx.tenant, ""))] if _any(tx, select(CustomerSettings.tenant_id)) else []
    return starts + [
        sweep_start(Sweep(tx.tenant, pool_id)) for pool_id in tx.session.scalars(select(Pool.pool_id))
    ]


def of_leads(tx: Transaction) -> list[WorkflowStart]:
    """The sweep of the lead pool, and the pushes where there is a rule."""
    starts = []
    if _any(tx, select(LeadSettings.tenant_id)):
        pool_id = leads.pool_workflow_id(tx.tenant.id)
        starts.append(WorkflowStart(leads.POOL_WORKFLOW, pool_id, leads.QUEUE, leads.PoolSweep(tx.tenant)))
    if _any(tx, select(PushRule.tenant_id)):
        push_id, loop = leads.push_workflow_id(tx.tenant.id), leads.PushLoop(tx.tenant)
        starts.append(
            WorkflowStart(leads.PUSH_WORKFLOW, push_id, leads.QUEUE, loop, signal=leads.RULE_CHANGED)
        )
    return starts


def of_dedupe(tx: Transaction) -> list[WorkflowStart]:
    """What asks the writers of reservations that nobody confirmed."""
    if not _any(tx, select(Reservation.tenant_id).where(Reservation.state == ReservationState.RESERVED)):
        return []
    settle_id, payload = dedupe.settle_workflow_id(tx.tenant.id), dedupe.SettleTenant(tx.tenant)
    return [WorkflowStart(dedupe.SETTLE, settle_id, dedupe.QUEUE, payload, dedupe.WAKE)]


def of_notify(tx: Transaction) -> list[WorkflowStart]:
    """The tenant's reminders."""
    if not _any(tx, select(Reminder.tenant_id).where(Reminder.state == ReminderState.PENDING)):
        return []
    workflow_id, payload = notify.reminders_workflow_id(tx.tenant.id), notify.Sweeper(tx.tenant)
    return [WorkflowStart(notify.WORKFLOW, workflow_id, notify.QUEUE, payload, signal=notify.WAKE)]


def of_orders(tx: Transaction) -> list[WorkflowStart]:
    """What ends contracts on their day."""
    if not _any(tx, select(Contract.tenant_id).where(Contract.state == ContractState.EFFECTIVE)):
        return []
    workflow_id, payload = orders.expiry_workflow_id(tx.tenant.id), orders.Expiry(tx.tenant)
    return [WorkflowStart(orders.EXPIRY_WORKFLOW, workflow_id, orders.QUEUE, payload)]


def of_approvals(tx: Transaction) -> list[WorkflowStart]:
    """One for each approval that is not decided."""
    undecided = select(Approval.id).where(Approval.state.in_([ApprovalState.PREPARING, ApprovalState.OPEN]))
    return [workflow_of(tx, approval_id) for approval_id in tx.session.scalars(undecided).all()]


# By the service in whose transaction it is asked, and by whose outbox it is started.
EXPECTED: Final[Mapping[str, Callable[[Transaction], list[WorkflowStart]]]] = {
    "customers": of_customers,
    "leads": of_leads,
    "dedupe": of_dedupe,
    "notify": of_notify,
    "orders": of_orders,
    "approvals": of_approvals,
}


def missing(link: TemporalLink, starts: Sequence[WorkflowStart]) -> list[WorkflowStart]:
    """Return those that do not run; raises Unavailable when Temporal does not answer."""
    return [start for start in starts if not link.run(lambda client, start=start: _runs(client, start.id))]  # type: ignore[misc]  # bound in its round


async def _runs(client: Client, workflow_id: str) -> bool:
    try:
        found = await client.get_workflow_handle(workflow_id).describe(rpc_timeout=PATIENCE)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return False
        raise
    return found.status == WorkflowExecutionStatus.RUNNING


def _any(tx: Transaction, query: Select[str]) -> bool:
    return tx.session.scalar(query.limit(1)) is not None
