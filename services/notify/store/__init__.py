"""Notify's tables and queries."""
