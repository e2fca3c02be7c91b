"""Bulk SMS: one text to many customers, who gets it, and who agreed to promotions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "telephony_0007"
down_revision = "telephony_0006"
branch_labels = None
depends_on = None

SCHEMA = "telephony"
UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sms_consent",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "number", name="pk_sms_consent"),
        schema=SCHEMA,
    )
    op.create_table(
        "sms_bulk",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("consent_basis", sa.Text, nullable=False),
        sa.Column("selection", postgresql.JSONB, nullable=False),
        sa.Column("every_mobile", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("page_token", sa.Text, nullable=False, server_default=""),
        sa.Column("customer_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_position", sa.Integer, nullable=False, server_default="0"),
        sa.Column("duplicate_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("without_mobile_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("segment_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("start_time", TIME, nullable=True),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("end_time", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sms_bulk"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sms_bulk_tenant_id_create_time_id",
        "sms_bulk",
        ["tenant_id", "create_time", "id"],
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sms_bulk_running",
        "sms_bulk",
        ["tenant_id", "start_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "sms_recipient",
        sa.Column("bulk_id", UUID, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("customer_id", UUID, nullable=False),
        sa.Column("customer_name", sa.Text, nullable=False, server_default=""),
        sa.Column("contact_name", sa.Text, nullable=False, server_default=""),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("sms_id", UUID, nullable=True),
        sa.PrimaryKeyConstraint("bulk_id", "number", name="pk_sms_recipient"),
        sa.UniqueConstraint("bulk_id", "position", name="uq_sms_recipient_bulk_id_position"),
        sa.ForeignKeyConstraint(
            ["bulk_id"],
            [f"{SCHEMA}.sms_bulk.id"],
            name="fk_sms_recipient_bulk_id_sms_bulk",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sms_recipient_waiting",
        "sms_recipient",
        ["bulk_id", "position"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.add_column("sms", sa.Column("bulk_id", UUID, nullable=True), schema=SCHEMA)
    op.create_index(
        "ix_sms_bulk_open",
        "sms",
        ["bulk_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("bulk_id IS NOT NULL AND state IN ('queued', 'sending')"),
    )
