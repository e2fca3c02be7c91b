"""Calls of leads, what callers asked a price for, and when cards pop."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "telephony_0008"
down_revision = "telephony_0007"
branch_labels = None
depends_on = None

SCHEMA = "telephony"
UUID = sa.Uuid(as_uuid=False)
JSONB = postgresql.JSONB()


def upgrade() -> None:
    op.add_column("call", sa.Column("lead_id", UUID, nullable=True), schema=SCHEMA)
    op.add_column("call", sa.Column("lead_name", sa.Text(), nullable=False, server_default=""), schema=SCHEMA)
    op.add_column(
        "desk_settings",
        sa.Column("pops", JSONB, nullable=False, server_default=sa.text("'{}'")),
        schema=SCHEMA,
    )
    op.create_table(
        "call_inquiry",
        sa.Column("inquiry_id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("call_id", UUID, nullable=False),
        sa.Column("products", JSONB, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"],
            [f"{SCHEMA}.call.id"],
            name=op.f("fk_call_inquiry_call_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("inquiry_id", name=op.f("pk_call_inquiry")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_call_inquiry_call",
        "call_inquiry",
        ["tenant_id", "call_id", "create_time"],
        schema=SCHEMA,
    )
