"""The use cases of customers: one function, one transaction."""
