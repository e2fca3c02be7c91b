"""What leads measures beyond what every service does."""

from prometheus_client import Counter, Gauge

CONVERSIONS = Counter("crm_leads_conversions", "Conversions that came to an end, by outcome.", ["outcome"])
RECLAIM_BACKLOG = Gauge(
    "crm_leads_reclaim_backlog_rows",
    "Leads whose time to fall back has passed, up to 1,000 for each tenant.",
    ["database"],
)
RECLAIM_BACKLOG_AGE = Gauge(
    "crm_leads_reclaim_backlog_seconds",
    "How long the first of them should have fallen back already.",
    ["database"],
)
