"""The workflow that sweeps a tenant's reminders."""
