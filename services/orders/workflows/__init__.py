"""The expiry of contracts as a workflow: contracts, the workflow itself, its activity."""
