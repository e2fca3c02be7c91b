"""What leads measures beyond what every service does."""

from prometheus_client import Counter

CONVERSIONS = Counter("crm_leads_conversions", "Conversions that came to an end, by outcome.", ["outcome"])
