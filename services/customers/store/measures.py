"""What customers measures of its tables: how far the sweeps of the pools are behind."""

from typing import Final

from sqlalchemy import text

from services.chassis.measures import Measure
from services.customers.metrics import ALLOCATION_BACKLOG, RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE

# Rows looked at in one pool, so that a backlog of millions costs no more than one of a thousand.
MOST: Final = 1000

# A pool at a time, as the indexes are: those of a pool, and those of a tenant that belong to none. The predicate is the
# sweep's: who is locked is not behind (F14).
_RECLAIM: Final = """
    WITH due AS (
        SELECT of_pool.reclaim_due_at FROM customers.pool CROSS JOIN LATERAL (
            SELECT reclaim_due_at FROM customers.customer
            WHERE customer.tenant_id = pool.tenant_id AND customer.pool_id = pool.pool_id {due}
        ) of_pool
        UNION ALL
        SELECT of_none.reclaim_due_at FROM customers.settings CROSS JOIN LATERAL (
            SELECT reclaim_due_at FROM customers.customer
            WHERE customer.tenant_id = settings.tenant_id AND customer.pool_id IS NULL {due}
        ) of_none
    )
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(reclaim_due_at)), 0) FROM due
"""
_DUE: Final = """
    AND reclaim_due_at <= clock_timestamp() AND owner_id IS NOT NULL AND state = 'active'
    AND (lock_expire_time IS NULL OR lock_expire_time <= clock_timestamp())
    ORDER BY reclaim_due_at LIMIT :most
"""
_ALLOCATION: Final = """
    SELECT coalesce(sum(waiting.number), 0) FROM customers.pool CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (
            SELECT FROM customers.customer
            WHERE customer.tenant_id = pool.tenant_id AND customer.pool_id = pool.pool_id AND allocate_due
            LIMIT :most
        ) one
    ) waiting
"""

MEASURES: Final = (
    Measure(text(_RECLAIM.format(due=_DUE)).bindparams(most=MOST), (RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE)),
    Measure(text(_ALLOCATION).bindparams(most=MOST), (ALLOCATION_BACKLOG,)),
)
