"""Lanes and limits of SMS, what is known of a modem, joined replies and opt-outs."""

import sqlalchemy as sa
from alembic import op

revision = "telephony_0003"
down_revision = "telephony_0002"
branch_labels = None
depends_on = None

SCHEMA = "telephony"
UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.alter_column("sms", "person_id", nullable=True, schema=SCHEMA)
    op.add_column("sms", sa.Column("customer_id", UUID, nullable=True), schema=SCHEMA)
    op.add_column("sms", sa.Column("lane", sa.Text, nullable=False, server_default="reminder"), schema=SCHEMA)
    op.add_column("sms", sa.Column("reason", sa.Text, nullable=False, server_default=""), schema=SCHEMA)
    op.add_column("sms", sa.Column("begin_time", TIME, nullable=True), schema=SCHEMA)
    op.add_column("sms", sa.Column("decided_by_id", UUID, nullable=True), schema=SCHEMA)
    op.add_column("sms", sa.Column("decide_time", TIME, nullable=True), schema=SCHEMA)
    op.create_index("ix_sms_number", "sms", ["tenant_id", "number", "create_time"], schema=SCHEMA)
    op.create_index(
        "ix_sms_open",
        "sms",
        ["tenant_id", "expire_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("state IN ('queued', 'sending', 'uncertain')"),
    )
    op.add_column(
        "sms_segment",
        sa.Column("priority", sa.Integer, nullable=False, server_default="1"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sms_segment_next",
        "sms_segment",
        ["tenant_id", "priority", "next_attempt_time", "sms_id", "part"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.drop_index("ix_sms_segment_due", "sms_segment", schema=SCHEMA)
    op.create_index(
        "ix_sms_segment_held",
        "sms_segment",
        ["tenant_id", "modem"],
        schema=SCHEMA,
        postgresql_where=sa.text("state IN ('claimed', 'sending')"),
    )
    op.add_column("sms_incoming", sa.Column("received_id", UUID, nullable=True), schema=SCHEMA)
    op.create_index(
        "ix_sms_incoming_parts",
        "sms_incoming",
        ["tenant_id", "receive_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("received_id IS NULL"),
    )
    op.create_table(
        "sms_received",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("modem", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("missing_parts", sa.Integer, nullable=False),
        sa.Column("opt_out", sa.Boolean, nullable=False),
        sa.Column("receive_time", TIME, nullable=False),
        sa.Column("match_time", TIME, nullable=True),
        sa.Column("customer_id", UUID, nullable=True),
        sa.Column("customer_name", sa.Text, nullable=False, server_default=""),
        sa.Column("contact_id", UUID, nullable=True),
        sa.Column("contact_name", sa.Text, nullable=False, server_default=""),
        sa.Column("owner_id", UUID, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sms_received"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sms_received_tenant_id_receive_time_id",
        "sms_received",
        ["tenant_id", "receive_time", "id"],
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sms_received_unmatched",
        "sms_received",
        ["tenant_id", "receive_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("match_time IS NULL"),
    )
    op.create_table(
        "sms_opt_out",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("received_id", UUID, nullable=True),
        sa.Column("time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "number", name="pk_sms_opt_out"),
        schema=SCHEMA,
    )
    op.create_table(
        "sms_policy",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("bulk_from_minute", sa.Integer, nullable=False),
        sa.Column("bulk_until_minute", sa.Integer, nullable=False),
        sa.Column("number_hourly_limit", sa.Integer, nullable=False),
        sa.Column("number_daily_limit", sa.Integer, nullable=False),
        sa.Column("blocked_after_s", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_sms_policy"),
        schema=SCHEMA,
    )
    op.add_column(
        "modem",
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.text("true")),
        schema=SCHEMA,
    )
    op.add_column(
        "modem", sa.Column("hourly_limit", sa.Integer, nullable=False, server_default="200"), schema=SCHEMA
    )
    op.add_column(
        "modem", sa.Column("daily_limit", sa.Integer, nullable=False, server_default="1000"), schema=SCHEMA
    )
    op.add_column("modem", sa.Column("signal", sa.Integer, nullable=True), schema=SCHEMA)
    op.add_column("modem", sa.Column("seen_time", TIME, nullable=True), schema=SCHEMA)
