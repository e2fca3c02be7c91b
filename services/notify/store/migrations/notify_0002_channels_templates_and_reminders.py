"""Channels with their own fate, preferences, templates, reminders that people set, cadences, announcements."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "notify_0002"
down_revision = "notify_0001"
branch_labels = None
depends_on = None

SCHEMA = "notify"
UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("reminder", sa.Column("escalate_time", TIME, nullable=True), schema=SCHEMA)
    op.create_index(
        "ix_reminder_escalate",
        "reminder",
        ["tenant_id", "escalate_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("escalate_time IS NOT NULL"),
    )
    op.create_table(
        "person",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("rights", JSONB, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        schema=SCHEMA,
    )
    op.create_index("ix_person_tenant_id_active", "person", ["tenant_id", "active"], schema=SCHEMA)
    op.create_table(
        "preference",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("channels", JSONB, nullable=False),
        sa.Column("digest_minute", sa.Integer, nullable=True),
        sa.Column("quiet_from_minute", sa.Integer, nullable=False),
        sa.Column("quiet_until_minute", sa.Integer, nullable=False),
        sa.Column("mail", sa.Text, nullable=False),
        sa.Column("locale", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", name="pk_preference"),
        schema=SCHEMA,
    )
    op.create_table(
        "robot",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("kinds", JSONB, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_robot"),
        schema=SCHEMA,
    )
    op.create_index("ix_robot_tenant_id", "robot", ["tenant_id"], schema=SCHEMA)
    op.create_table(
        "delivery",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("message_id", UUID, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("robot_id", UUID, nullable=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("digest", sa.Boolean, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt_time", TIME, nullable=False),
        sa.Column("sms_version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("done_time", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_delivery_attempt",
        "delivery",
        ["tenant_id", "attempt_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("state IN ('pending', 'sending')"),
    )
    op.create_index("ix_delivery_message", "delivery", ["tenant_id", "message_id"], schema=SCHEMA)
    op.create_table(
        "template",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("title_zh", sa.Text, nullable=False),
        sa.Column("text_zh", sa.Text, nullable=False),
        sa.Column("title_en", sa.Text, nullable=False),
        sa.Column("text_en", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", name="pk_template"),
        schema=SCHEMA,
    )
    op.create_table(
        "follow_up_reminder",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("subject_type", sa.Text, nullable=False),
        sa.Column("subject_id", UUID, nullable=True),
        sa.Column("subject_name", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("first_time", TIME, nullable=False),
        sa.Column("next_time", TIME, nullable=True),
        sa.Column("interval_minutes", sa.Integer, nullable=False),
        sa.Column("until_time", TIME, nullable=True),
        sa.Column("fired_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("done_time", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_follow_up_reminder"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_follow_up_reminder_next",
        "follow_up_reminder",
        ["tenant_id", "next_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("next_time IS NOT NULL"),
    )
    op.create_index(
        "ix_follow_up_reminder_person",
        "follow_up_reminder",
        ["tenant_id", "person_id", "create_time", "id"],
        schema=SCHEMA,
    )
    op.create_index(
        "ix_follow_up_reminder_subject", "follow_up_reminder", ["tenant_id", "subject_id"], schema=SCHEMA
    )
    op.create_table(
        "cadence",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("customer_id", UUID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner_id", UUID, nullable=True),
        sa.Column("last_time", TIME, nullable=False),
        sa.Column("last_text", sa.Text, nullable=False),
        sa.Column("gaps_s", JSONB, nullable=False),
        sa.Column("due_time", TIME, nullable=True),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("tenant_id", "customer_id", name="pk_cadence"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_cadence_due",
        "cadence",
        ["tenant_id", "due_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("due_time IS NOT NULL"),
    )
    op.create_table(
        "announcement",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("author_id", UUID, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_announcement"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_announcement_tenant_id_create_time_id",
        "announcement",
        ["tenant_id", "create_time", "id"],
        schema=SCHEMA,
    )
