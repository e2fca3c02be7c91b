"""Agents' desks: states, dispositions, missed callers; and who owns the customers of calls."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "telephony_0005"
down_revision = "telephony_0004"
branch_labels = None
depends_on = None

SCHEMA = "telephony"
UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)
JSONB = postgresql.JSONB()


def upgrade() -> None:
    for column in (
        sa.Column("disposition", sa.Text(), nullable=False, server_default=""),
        sa.Column("disposed_by_id", UUID, nullable=True),
        sa.Column("handed_to_id", UUID, nullable=True),
    ):
        op.add_column("call", column, schema=SCHEMA)
    op.create_index("ix_call_number", "call", ["tenant_id", "number", "start_time"], schema=SCHEMA)
    op.create_index("ix_leg_agent", "leg", ["tenant_id", "person_id", "end_time"], schema=SCHEMA)
    op.create_table(
        "customer_owner",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("customer_id", UUID, nullable=False),
        sa.Column("owner_id", UUID, nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "customer_id", name=op.f("pk_customer_owner")),
        schema=SCHEMA,
    )
    op.create_table(
        "missed_caller",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("number", sa.Text(), nullable=False, server_default=""),
        sa.Column("call_count", sa.Integer(), nullable=False),
        sa.Column("first_time", TIME, nullable=False),
        sa.Column("last_time", TIME, nullable=False),
        sa.Column("last_call_id", UUID, nullable=False),
        sa.Column("handle_time", TIME, nullable=True),
        sa.Column("handled_by_id", UUID, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_missed_caller")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_missed_caller_open",
        "missed_caller",
        ["tenant_id", "last_time", "id"],
        schema=SCHEMA,
        postgresql_where=sa.text("call_count > 0"),
    )
    op.create_table(
        "agent_choice",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", name=op.f("pk_agent_choice")),
        schema=SCHEMA,
    )
    op.create_table(
        "desk_settings",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("wrap_up_s", sa.Integer(), nullable=False),
        sa.Column("dispositions", JSONB, nullable=False),
        sa.Column("break_reasons", JSONB, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_desk_settings")),
        schema=SCHEMA,
    )
