"""Prometheus metrics that every process has, and the port they are read from.

Labels are closed sets: a service, an RPC, a code, an event type; never an id, a number or a tenant.
"""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

UP = Gauge("crm_up", "1 once the process has started.", ["process"])
RPC_SECONDS = Histogram(
    "crm_rpc_handling_seconds",
    "Time to answer an RPC.",
    ["service", "method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
OUTBOX_DEPTH = Gauge("crm_outbox_depth_rows", "Rows not yet delivered.", ["service", "database", "lane"])
OUTBOX_AGE = Gauge(
    "crm_outbox_oldest_seconds", "Age of the oldest row not yet delivered.", ["service", "database", "lane"]
)
OUTBOX_DELIVERED = Counter("crm_outbox_delivered_rows", "Rows delivered.", ["service", "kind"])
OUTBOX_FAILED = Counter(
    "crm_outbox_failed_deliveries", "Deliveries that failed and wait.", ["service", "kind"]
)
EVENTS_HANDLED = Counter(
    "crm_events_handled",
    "Events taken from a queue, by what became of them.",
    ["service", "event", "outcome"],
)
ACTIVITY_SECONDS = Histogram(
    "crm_activity_seconds",
    "Time that an activity of a workflow took, by what became of it: done, refused, failed (and tried again).",
    ["queue", "activity", "outcome"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600),
)
WORKFLOWS_ENDED = Counter(
    "crm_workflows_ended",
    "Runs of workflows that ended, by how: done, failed, continued (as a new run).",
    ["queue", "workflow", "outcome"],
)
EPOCHS_AGE = Gauge("crm_epochs_age_seconds", "Time since it was last known whose tokens are old.")


def serve(process: str, bind_address: str, port: int) -> None:
    """Answer GET /metrics on a thread of its own; port 0 leaves it off."""
    UP.labels(process).set(1)
    if port:
        start_http_server(port, addr=bind_address)
