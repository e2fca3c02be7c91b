"""What a pool shows."""

# What a pool may hide of its customers.
HIDEABLE = ("address", "business_type", "contacts", "level", "phones", "region")
