"""Ids, queue and payloads of dedupe's workflow."""

from dataclasses import dataclass
from datetime import datetime

from services.chassis.tenancy import Tenant

QUEUE = "dedupe"
# Workflow type, its signal and its activity.
SETTLE = "SettleReservations"
WAKE = "wake"
SETTLE_DUE = "settle_due_reservations"


def settle_workflow_id(tenant_id: str) -> str:
    """Return the id of a tenant's settling, of which one runs."""
    return f"settle-{tenant_id}"


@dataclass(frozen=True)
class SettleTenant:
    """What the workflow is for."""

    tenant: Tenant


@dataclass(frozen=True)
class SettleDue:
    """What is due by `now` shall be settled."""

    tenant: Tenant
    now: datetime


@dataclass(frozen=True)
class Settled:
    """When to look again; None: not before a signal."""

    next_time: datetime | None
