"""Tenants, departments, people, roles and sessions: who somebody is and what the person may do."""
