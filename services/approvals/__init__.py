"""Approvals in steps: one decision for each step, bound to what was seen."""
