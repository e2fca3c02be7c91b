"""The own metrics of customers."""

from prometheus_client import Counter

OWNERSHIP_CHANGES = Counter(
    "crm_customers_ownership_changes", "Owners who came or went, by cause.", ["cause"]
)
WARNED = Counter("crm_customers_reclaim_warnings", "Owners warned before a reclaim.")
IMPORTED_ROWS = Counter("crm_customers_imported_rows", "Rows of imports that became customers.")
EXPORTED_ROWS = Counter("crm_customers_exported_rows", "Customers that left in files.")
