"""Whom people are to contact: planned follow-ups, dealings with customers, and when everybody is told (F202, F203)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "notify_0004"
down_revision = "notify_0003"
branch_labels = None
depends_on = None

SCHEMA = "notify"
UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "tenant", sa.Column("daily_minute", sa.Integer, nullable=False, server_default="510"), schema=SCHEMA
    )
    op.add_column(
        "tenant", sa.Column("order_days", sa.Integer, nullable=False, server_default="90"), schema=SCHEMA
    )
    op.add_column(
        "tenant", sa.Column("silence_days", sa.Integer, nullable=False, server_default="180"), schema=SCHEMA
    )
    op.add_column(
        "tenant", sa.Column("daily_time", TIME, nullable=False, server_default=sa.func.now()), schema=SCHEMA
    )
    op.alter_column("tenant", "daily_time", server_default=None, schema=SCHEMA)
    op.add_column("cadence", sa.Column("overdue_time", TIME, nullable=True), schema=SCHEMA)
    op.execute("UPDATE notify.cadence SET overdue_time = due_time")
    op.create_index("ix_cadence_owner", "cadence", ["tenant_id", "owner_id", "overdue_time"], schema=SCHEMA)
    op.create_table(
        "plan",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("plan_id", UUID, nullable=False),
        sa.Column("customer_id", UUID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("due_time", TIME, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "plan_id", name="pk_plan"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_plan_person",
        "plan",
        ["tenant_id", "person_id", "due_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("NOT done"),
    )
    op.create_index("ix_plan_customer", "plan", ["tenant_id", "customer_id"], schema=SCHEMA)
    op.create_table(
        "dealing",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("customer_id", UUID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner_id", UUID, nullable=True),
        sa.Column("last_order_time", TIME, nullable=True),
        sa.Column("order_gaps_s", JSONB, nullable=False),
        sa.Column("order_overdue_s", sa.Float, nullable=True),
        sa.Column("order_base_time", TIME, nullable=False),
        sa.Column("silence_base_time", TIME, nullable=False),
        sa.Column("order_told", sa.Boolean, nullable=False),
        sa.Column("silence_told", sa.Boolean, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "customer_id", name="pk_dealing"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_dealing_owner",
        "dealing",
        ["tenant_id", "owner_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    # Customers that were heard of before: their time counts from their last follow-up on.
    op.execute(
        """
        INSERT INTO notify.dealing (tenant_id, customer_id, name, owner_id, order_gaps_s, order_base_time,
            silence_base_time, order_told, silence_told, version)
        SELECT tenant_id, customer_id, name, owner_id, '[]', last_time, last_time, false, false, version
        FROM notify.cadence
        """
    )


def downgrade() -> None:
    op.drop_table("dealing", schema=SCHEMA)
    op.drop_table("plan", schema=SCHEMA)
    op.drop_index("ix_cadence_owner", "cadence", schema=SCHEMA)
    op.drop_column("cadence", "overdue_time", schema=SCHEMA)
    for column in ("daily_time", "silence_days", "order_days", "daily_minute"):
        op.drop_column("tenant", column, schema=SCHEMA)
