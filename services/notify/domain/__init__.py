"""Notify's rules: what messages say, and what becomes of a reminder."""
