"""Rows that follow a merge of customers, and go back with its undo."""

from services.chassis.migrations import moves

revision = "notify_0003"
down_revision = "notify_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moves.create_tables("notify")


def downgrade() -> None:
    moves.drop_tables("notify")
