"""The orders schema: tables, queries, migrations."""
