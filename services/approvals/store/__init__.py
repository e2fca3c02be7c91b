"""Approvals' tables and queries."""
