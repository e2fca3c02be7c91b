"""Scans for duplicates, and the pairs that they found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "dedupe_0006"
down_revision = "dedupe_0005"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.create_table(
        "scan",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("scan_id", ID, nullable=False),
        sa.Column("after", ID, nullable=False),
        sa.Column("scanned", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finish_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "scan_id", name=op.f("pk_scan")),
        schema="dedupe",
    )
    op.create_index("ix_scan_newest", "scan", ["tenant_id", "create_time", "scan_id"], schema="dedupe")
    op.create_table(
        "duplicate_pair",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("low", ID, nullable=False),
        sa.Column("high", ID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("group_id", ID, nullable=False),
        sa.Column("decider_id", ID, nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "low", "high", name=op.f("pk_duplicate_pair")),
        schema="dedupe",
    )
    op.create_index(
        "ix_duplicate_pair_group", "duplicate_pair", ["tenant_id", "state", "group_id"], schema="dedupe"
    )
    op.create_index("ix_duplicate_pair_high", "duplicate_pair", ["tenant_id", "high"], schema="dedupe")
    op.add_column(
        "suspect",
        sa.Column("shared_bits", sa.ARRAY(sa.Double()), server_default="{}", nullable=False),
        schema="dedupe",
    )


def downgrade() -> None:
    op.drop_column("suspect", "shared_bits", schema="dedupe")
    op.drop_table("duplicate_pair", schema="dedupe")
    op.drop_table("scan", schema="dedupe")
