"""Ids, queue and payloads of dedupe's workflow."""

from dataclasses import dataclass
from datetime import datetime

from services.chassis.tenancy import Tenant

QUEUE = "dedupe"
# Workflow type, its signal and its activity.
SETTLE = "SettleReservations"
WAKE = "wake"
SETTLE_DUE = "settle_due_reservations"


# Workflow type of a scan for duplicates and its activity.
SCAN = "ScanDuplicates"
SCAN_BATCHES = "scan_batches"


@dataclass(frozen=True)
class ScanTenant:
    """A scan of all customers of a tenant."""

    tenant: Tenant
    scan_id: str


def scan_workflow_id(scan_id: str) -> str:
    """Return the id of a scan's workflow."""
    return f"scan-{scan_id}"


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
