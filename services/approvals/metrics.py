"""What approvals measures beyond what every service does."""

from prometheus_client import Gauge

OVERDUE = Gauge(
    "crm_approvals_overdue_steps", "Open steps that have waited longer than their limit.", ["database"]
)
OVERDUE_AGE = Gauge(
    "crm_approvals_overdue_seconds", "How long the first of them is over its limit already.", ["database"]
)
