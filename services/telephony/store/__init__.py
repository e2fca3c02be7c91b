"""Telephony's tables."""
