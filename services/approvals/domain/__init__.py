"""Approvals' rules: which step is asked, who may decide it, what comes of it."""
