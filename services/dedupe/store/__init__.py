"""Dedupe's tables and queries."""
