"""The gateway's own metrics; labels are routes and kinds from closed sets, never an id."""

from prometheus_client import Counter, Gauge, Histogram

REQUEST_SECONDS = Histogram(
    "crm_gateway_request_seconds",
    "Time to answer an HTTP request, by the route's template.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
SOCKETS = Gauge("crm_gateway_live_sockets", "Live sockets that are open.")
SOCKETS_CLOSED = Counter("crm_gateway_live_sockets_closed", "Live sockets that ended, by why.", ["cause"])
FRAMES = Counter("crm_gateway_live_frames", "Frames given to live sockets, by kind.", ["kind"])
EVENTS_BAD = Counter("crm_gateway_live_events_unreadable", "Events from the broker that could not be read.")
SUBSCRIBED = Gauge("crm_gateway_live_subscribed", "1 while events come in from the broker.")
