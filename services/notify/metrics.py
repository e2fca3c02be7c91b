"""Notify's own metrics."""

from prometheus_client import Counter

DELIVERIES = Counter(
    "crm_notify_deliveries",
    "Messages sent out of the app, by channel and outcome: queued, sent, failed, uncertain, pending (tried again).",
    ["channel", "outcome"],
)
REMINDERS = Counter(
    "crm_notify_reminders",
    "Due reminders seen to, by outcome: handed_over, cancelled, in_app_only, failed or postponed.",
    ["outcome"],
)
