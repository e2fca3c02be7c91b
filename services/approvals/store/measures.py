"""What approvals measures of its tables: which steps wait too long."""

from typing import Final

from sqlalchemy import text

from services.approvals.metrics import OVERDUE, OVERDUE_AGE
from services.chassis.measures import Measure

# A step opens when the one before it ends, the first one with its approval. Only what is undecided is looked at, by its
# index; whether the workflow reminded of it is of no account: it may be what stands still.
_OVERDUE: Final = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(step_limit.passed)), 0)
    FROM approvals.approval
    JOIN approvals.step ON step.approval_id = approval.id AND step.step_index = approval.open_step
    CROSS JOIN LATERAL (
        SELECT coalesce(max(before.decide_time), approval.create_time)
            + make_interval(secs => step.time_limit_s) AS passed
        FROM approvals.step AS before
        WHERE before.approval_id = approval.id AND before.step_index < approval.open_step
    ) step_limit
    WHERE approval.state = 'open' AND step_limit.passed < clock_timestamp()
"""

MEASURES: Final = (Measure(text(_OVERDUE), (OVERDUE, OVERDUE_AGE)),)
