"""Merges of customers, and the rows that they moved."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.chassis.migrations import moves

revision = "customers_0006"
down_revision = "customers_0005"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)
JSON = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    moves.create_tables("customers")
    op.create_table(
        "merge",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("merge_id", ID, nullable=False),
        sa.Column("survivor_id", ID, nullable=False),
        sa.Column("merged_id", ID, nullable=False),
        sa.Column("merged_name", sa.Text(), nullable=False),
        sa.Column("survivor_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("taken", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("survivor_before", JSON, nullable=False),
        sa.Column("survivor_after", JSON, nullable=False),
        sa.Column("merged_before", JSON, nullable=False),
        sa.Column("followed", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("actor_id", ID, nullable=False),
        sa.Column("undo_actor_id", ID, nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undo_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "merge_id", name=op.f("pk_merge")),
        schema="customers",
    )
    op.create_index("ix_merge_newest", "merge", ["tenant_id", "create_time", "merge_id"], schema="customers")
    op.create_index("ix_merge_merged", "merge", ["tenant_id", "merged_id"], schema="customers")


def downgrade() -> None:
    op.drop_table("merge", schema="customers")
    moves.drop_tables("customers")
