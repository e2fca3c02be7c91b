"""The own metrics of customers."""

from prometheus_client import Counter

OWNERSHIP_CHANGES = Counter(
    "crm_customers_ownership_changes", "Owners who came or went, by cause.", ["cause"]
)
WARNED = Counter("crm_customers_reclaim_warnings", "Owners warned before a reclaim.")
