"""The leads schema: tables, queries, migrations."""
