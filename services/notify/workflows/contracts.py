"""What the sweeping workflow, its activity and its starter agree on: ids, queue, names, payloads."""

from dataclasses import dataclass

from services.chassis.tenancy import Tenant

QUEUE = "notify"
WORKFLOW = "Reminders"
# The activity.
SWEEP = "notify.sweep_reminders"
# The signal: a reminder was added.
WAKE = "wake"

# Reminders that one run of the activity sees to.
BATCH = 20
# Longest answer of another service, in seconds.
RPC_TIMEOUT_S = 3.0
# A sweep that says nothing this long, in seconds, is taken for dead; one reminder takes at most three answers.
HEARTBEAT_TIMEOUT_S = 15
# Longest run of the activity, in seconds: a full batch whose every call times out.
SWEEP_TIMEOUT_S = 240
# Sweeps before the workflow continues as new, so that its history stays short.
ROUNDS = 250


def reminders_workflow_id(tenant_id: str) -> str:
    """Return the id of the workflow that sweeps a tenant's reminders."""
    return f"reminders-{tenant_id}"


@dataclass(frozen=True)
class Sweeper:
    """Whose reminders are swept."""

    tenant: Tenant


@dataclass(frozen=True)
class Sweep:
    """One sweep. now: ISO 8601, what counts as due."""

    tenant: Tenant
    now: str


@dataclass(frozen=True)
class Swept:
    """What a sweep leaves. next_time: ISO 8601, when there is something to do again; empty: nothing is planned."""

    next_time: str
