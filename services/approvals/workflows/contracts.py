"""What an approval's workflow, its activities and its starter agree on: ids, queue, names, payloads."""

from dataclasses import dataclass, field

from services.chassis.tenancy import Tenant

QUEUE = "approvals"
WORKFLOW = "Approval"
# Activities.
PREPARE = "approvals.prepare"
REMIND = "approvals.remind"
REFRESH = "approvals.refresh"
# Signals: the next step is open; nothing more is to be waited for; somebody who is asked cannot decide any more.
ADVANCED = "advanced"
FINISHED = "finished"
PEOPLE_CHANGED = "people_changed"

# A step that waits this long is reminded of, and again each time: three days, in seconds.
STEP_TIME_LIMIT_S = 3 * 24 * 3600
# A worker that died is noticed after this many seconds; activities may be repeated.
ACTIVITY_TIMEOUT_S = 30


def approval_workflow_id(approval_id: str) -> str:
    """Return the id of the workflow that waits for an approval's decisions."""
    return f"approval-{approval_id}"


@dataclass(frozen=True)
class ApprovalStart:
    """An approval to prepare and to wait for. time_limits_s: by step; without them all have step_time_limit_s."""

    tenant: Tenant
    approval_id: str
    step_time_limit_s: int
    time_limits_s: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Reminder:
    """The open step of an approval waits too long. number: of the reminder in this approval, from 1 on."""

    tenant: Tenant
    approval_id: str
    number: int
