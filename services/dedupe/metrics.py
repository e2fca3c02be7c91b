"""Dedupe's own metrics."""

from prometheus_client import Counter

RESERVATIONS = Counter(
    "crm_dedupe_reservations", "Reservations asked for, by outcome: reserved, refused.", ["outcome"]
)
SETTLED = Counter(
    "crm_dedupe_settled_reservations",
    "Reservations whose writer had to be asked, by outcome: confirmed, cancelled, postponed.",
    ["outcome"],
)
