"""The own metrics of customers."""

from prometheus_client import Counter, Gauge

OWNERSHIP_CHANGES = Counter(
    "crm_customers_ownership_changes", "Owners who came or went, by cause.", ["cause"]
)
WARNED = Counter("crm_customers_reclaim_warnings", "Owners warned before a reclaim.")
IMPORTED_ROWS = Counter("crm_customers_imported_rows", "Rows of imports that became customers.")
EXPORTED_ROWS = Counter("crm_customers_exported_rows", "Customers that left in files.")
RECLAIM_BACKLOG = Gauge(
    "crm_customers_reclaim_backlog_rows",
    "Customers whose time to fall back has passed, up to 1,000 for each pool.",
    ["database"],
)
RECLAIM_BACKLOG_AGE = Gauge(
    "crm_customers_reclaim_backlog_seconds",
    "How long the first of them should have fallen back already.",
    ["database"],
)
ALLOCATION_BACKLOG = Gauge(
    "crm_customers_allocation_backlog_rows",
    "Pool customers that a rule of allocation has still to look at, up to 1,000 for each pool.",
    ["database"],
)
