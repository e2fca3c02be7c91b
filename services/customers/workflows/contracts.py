"""Ids, queue and payloads of the workflows of customers."""

from dataclasses import dataclass
from datetime import datetime

from services.chassis.tenancy import Tenant

QUEUE = "customers"
# Workflow type, its signal and its activity.
SWEEP_POOL = "SweepPool"
SWEEP_NOW = "sweep_now"
SWEEP_BATCH = "sweep_pool_batch"
# Workflow type and activity of a leaver's hand-over.
HAND_OVER_CUSTOMERS = "HandOverCustomers"
HAND_OVER_BATCH = "hand_over_batch"
# Workflow type of a merge, its signal and its activity.
FOLLOW_MERGE = "FollowMerge"
FOLLOWED = "followed"
ASK_AGAIN = "ask_followers_again"
# Workflow type and activity of an export's watch.
WATCH_EXPORT = "WatchExport"
END_SILENT_EXPORT = "end_silent_export"


@dataclass(frozen=True)
class Sweep:
    """Whose customers are swept: those of a pool, or with pool_id "" those that belong to none."""

    tenant: Tenant
    pool_id: str


@dataclass(frozen=True)
class SweepAt:
    """A sweep at a time of the workflow's clock."""

    sweep: Sweep
    now: datetime


@dataclass(frozen=True)
class Swept:
    """What a batch did. more: it stopped at its limit. next_time: when something is due next, None: nothing yet."""

    warned: int
    reclaimed: int
    more: bool
    next_time: datetime | None


@dataclass(frozen=True)
class HandOver:
    """A leaver's customers that go to others. actor_id: who wants it."""

    tenant: Tenant
    hand_over_id: str
    actor_id: str


@dataclass(frozen=True)
class FollowedMerge:
    """A merge whose rows in other services follow; undo: they go back."""

    tenant: Tenant
    merge_id: str
    undo: bool


@dataclass(frozen=True)
class WatchedExport:
    """An export whose process may die."""

    tenant: Tenant
    export_id: str


def export_workflow_id(export: WatchedExport) -> str:
    """Return the id of the workflow that watches an export."""
    return f"export-{export.export_id}"


def merge_workflow_id(merge: FollowedMerge) -> str:
    """Return the id of the workflow of a merge, or of its undo."""
    return f"{'undo' if merge.undo else 'merge'}-{merge.merge_id}"


def hand_over_workflow_id(hand_over: HandOver) -> str:
    """Return the id of a hand-over's workflow."""
    return f"hand-over-{hand_over.hand_over_id}"


def sweep_workflow_id(sweep: Sweep) -> str:
    """Return the id of a pool's workflow, of which one runs."""
    return f"pool-{sweep.pool_id}" if sweep.pool_id else f"no-pool-{sweep.tenant.id}"
