"""Inquiries, suspects, and who was told apart."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "dedupe_0003"
down_revision = "dedupe_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inquiry",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("inquiry_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("inquirer", sa.LargeBinary(), nullable=False),
        sa.Column("inquirer_name", sa.Text(), nullable=False),
        sa.Column("company_name", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("items", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("products", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("site_address", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("recorder_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("quote_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "inquiry_id", name=op.f("pk_inquiry")),
        schema="dedupe",
    )
    op.create_index(
        "ix_inquiry_newest",
        "inquiry",
        ["tenant_id", "create_time", "inquiry_id"],
        unique=False,
        schema="dedupe",
    )
    op.create_table(
        "suspect",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("suspect_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("likeness", sa.Double(), nullable=False),
        sa.Column("surprise", sa.Double(), nullable=False),
        sa.Column("shared", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("inquiry_ids", postgresql.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("decider_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "suspect_id", name=op.f("pk_suspect")),
        schema="dedupe",
    )
    op.create_index(
        "ix_suspect_inquiries",
        "suspect",
        ["inquiry_ids"],
        unique=False,
        schema="dedupe",
        postgresql_using="gin",
    )
    op.create_index(
        "ix_suspect_newest",
        "suspect",
        ["tenant_id", "state", "create_time", "suspect_id"],
        unique=False,
        schema="dedupe",
    )
    op.create_table(
        "suspicion",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_suspicion")),
        schema="dedupe",
    )
    op.create_table(
        "told_apart",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("low", sa.LargeBinary(), nullable=False),
        sa.Column("high", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "low", "high", name=op.f("pk_told_apart")),
        schema="dedupe",
    )


def downgrade() -> None:
    op.drop_table("told_apart", schema="dedupe")
    op.drop_table("suspicion", schema="dedupe")
    op.drop_index("ix_suspect_newest", table_name="suspect", schema="dedupe")
    op.drop_index("ix_suspect_inquiries", table_name="suspect", schema="dedupe", postgresql_using="gin")
    op.drop_table("suspect", schema="dedupe")
    op.drop_index("ix_inquiry_newest", table_name="inquiry", schema="dedupe")
    op.drop_table("inquiry", schema="dedupe")
