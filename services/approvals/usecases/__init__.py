"""Approvals' use cases."""
