"""Bulk mail: one text to many customers, who gets it, and who wants none (F200)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "notify_0005"
down_revision = "notify_0004"
branch_labels = None
depends_on = None

SCHEMA = "notify"
UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "bulk_mail",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("selection", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("page_token", sa.Text, nullable=False),
        sa.Column("customer_count", sa.Integer, nullable=False),
        sa.Column("duplicate_count", sa.Integer, nullable=False),
        sa.Column("without_address_count", sa.Integer, nullable=False),
        sa.Column("start_time", TIME, nullable=True),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("end_time", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_bulk_mail"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_bulk_mail_person", "bulk_mail", ["tenant_id", "person_id", "create_time", "id"], schema=SCHEMA
    )
    op.create_index(
        "ix_bulk_mail_running",
        "bulk_mail",
        ["tenant_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "mail_recipient",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("bulk_id", UUID, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("customer_id", UUID, nullable=False),
        sa.Column("customer_name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("attempt_time", TIME, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("done_time", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_mail_recipient"),
        sa.UniqueConstraint("bulk_id", "address", name="uq_mail_recipient_bulk_id_address"),
        schema=SCHEMA,
    )
    op.create_index("ix_mail_recipient_bulk", "mail_recipient", ["bulk_id", "position", "id"], schema=SCHEMA)
    op.create_index(
        "ix_mail_recipient_attempt",
        "mail_recipient",
        ["tenant_id", "attempt_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("state IN ('waiting', 'sending')"),
    )
    op.create_table(
        "mail_refusal",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "address", name="pk_mail_refusal"),
        schema=SCHEMA,
    )


def downgrade() -> None:
    for table in ("mail_refusal", "mail_recipient", "bulk_mail"):
        op.drop_table(table, schema=SCHEMA)
