"""Dedupe's use cases."""
