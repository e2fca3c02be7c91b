"""What leads measures of its tables: how far the sweeps of the lead pools are behind."""

from typing import Final

from sqlalchemy import text

from services.chassis.measures import Measure
from services.kernel.ownership import SHORTEST_WARNING
from services.leads.metrics import RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE

# Rows looked at of one tenant, so that a backlog of millions costs no more than one of a thousand.
MOST: Final = 1000

# The predicate is the sweep's, a pool at a time: the tenant's own, whose rule is the settings, and those beside it. A
# lead falls back when it was idle for long enough and its owner was warned long enough ago, whichever comes later.
_RECLAIM: Final = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(late.due)), 0)
    FROM (
        SELECT tenant_id, CAST(NULL AS uuid) AS id, idle_days FROM leads.settings
        UNION ALL SELECT tenant_id, id, idle_days FROM leads.pool
    ) pool CROSS JOIN LATERAL (
        SELECT greatest(
            evidence_time + make_interval(days => pool.idle_days),
            warned_time + CAST(:warning AS interval)
        ) AS due
        FROM leads.lead
        WHERE lead.tenant_id = pool.tenant_id AND lead.pool_id IS NOT DISTINCT FROM pool.id
            AND owner_id IS NOT NULL AND state IN ('assigned', 'following', 'invalid') AND conversion_id IS NULL
            AND evidence_time <= clock_timestamp() - make_interval(days => pool.idle_days)
            AND warned_time <= clock_timestamp() - CAST(:warning AS interval)
            AND (lock_expire_time IS NULL OR lock_expire_time <= clock_timestamp())
        ORDER BY evidence_time LIMIT :most
    ) late
    WHERE pool.idle_days > 0
"""

MEASURES: Final = (
    Measure(
        text(_RECLAIM).bindparams(most=MOST, warning=SHORTEST_WARNING), (RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE)
    ),
)
