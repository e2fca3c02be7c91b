"""What the conversion's workflow, its activities and its starter agree on: ids, queue, names, payloads.

No name, number or text of a customer travels in a payload: activities read them from the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.chassis.tenancy import Tenant

QUEUE = "leads"
WORKFLOW = "ConvertLead"
# The update that is answered when a conversion has come to its end.
ENDED = "ended"

BEGIN = "leads.begin_conversion"
PLAN = "leads.plan_conversion"
RESERVE = "leads.reserve_keys"
WRITE_CUSTOMER = "leads.write_customer"
FINISH = "leads.finish_conversion"
ABORT = "leads.abort_conversion"

# The sweep of a tenant's lead pool, and its activity.
POOL_WORKFLOW = "SweepLeadPool"
SWEEP = "leads.sweep_pool"

# The pushes of a tenant's leads, their activity, and the signal that the rule changed.
PUSH_WORKFLOW = "PushLeads"
PUSH = "leads.push_leads"
RULE_CHANGED = "rule_changed"

# Longest answer of another service that an activity waits for, in seconds; no activity asks more than two.
RPC_TIMEOUT_S = 2.5
# Longest that a step takes; every activity may be repeated.
ACTIVITY_TIMEOUT = timedelta(seconds=6)
# A worker that died with a conversion in its hands is noticed after this.
TASK_TIMEOUT = timedelta(seconds=6)


def conversion_workflow_id(lead_id: str, request_id: str) -> str:
    """Return the id of the workflow that answers this request to convert this lead."""
    return f"conversion-{lead_id}-{request_id}"


def pool_workflow_id(tenant_id: str) -> str:
    """Return the id of the sweep of a tenant's lead pool, of which one runs."""
    return f"lead-pool-{tenant_id}"


def push_workflow_id(tenant_id: str) -> str:
    """Return the id of the pushes of a tenant's leads, of which one runs."""
    return f"lead-push-{tenant_id}"


@dataclass(frozen=True)
class PushLoop:
    """Whose leads are pushed."""

    tenant: Tenant


@dataclass(frozen=True)
class PushAt:
    """What is due at a time is pushed; the activity answers how many seconds to wait then, 0 for no set time."""

    tenant: Tenant
    now: datetime


@dataclass(frozen=True)
class PoolSweep:
    """Whose pool is swept."""

    tenant: Tenant


@dataclass(frozen=True)
class SweepAt:
    """A batch of what is due at a time, warned and taken back; its activity answers whether there may be more."""

    tenant: Tenant
    now: datetime


@dataclass(frozen=True)
class ConversionRef:
    """Which conversion. actor_id: on whose behalf."""

    tenant: Tenant
    conversion_id: str
    actor_id: str


@dataclass(frozen=True)
class Round:
    """A plan to make. number: from 1."""

    conversion: ConversionRef
    number: int


@dataclass(frozen=True)
class Refusal:
    """An AppError on its way to the caller, taken apart."""

    code: str
    reason: str
    zh: str
    en: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class StepAnswer:
    """What became of a step: done, or refused for a reason of the business.

    ended: the conversion has come to its end already, by a worker that died before it could say so.
    """

    refusal: Refusal | None = None
    ended: bool = False


@dataclass(frozen=True)
class Abort:
    """A conversion to give up, and why."""

    conversion: ConversionRef
    refusal: Refusal
