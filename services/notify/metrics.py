"""Notify's own metrics."""

from prometheus_client import Counter

REMINDERS = Counter(
    "crm_notify_reminders",
    "Due reminders seen to, by outcome: handed_over, cancelled, in_app_only, failed or postponed.",
    ["outcome"],
)
