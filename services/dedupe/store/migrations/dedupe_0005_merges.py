"""Rows that follow a merge of customers, and go back with its undo."""

import sqlalchemy as sa
from alembic import op

from services.chassis.migrations import moves

revision = "dedupe_0005"
down_revision = "dedupe_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moves.create_tables("dedupe")
    op.add_column(
        "held_key", sa.Column("former_subject_id", sa.Uuid(as_uuid=False), nullable=True), schema="dedupe"
    )


def downgrade() -> None:
    op.drop_column("held_key", "former_subject_id", schema="dedupe")
    moves.drop_tables("dedupe")
