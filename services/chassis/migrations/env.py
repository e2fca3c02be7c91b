"""Alembic's environment, the same for every service; `runner.py` hands over connection, tables and schema."""

from alembic import context

from services.chassis.migrations.runner import options

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"], **options(attributes["schema"], attributes["metadata"])
)
with context.begin_transaction():
    context.run_migrations()
