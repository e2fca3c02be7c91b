"""The workflow that sweeps a pool: warns owners, then takes back what they neglect."""
