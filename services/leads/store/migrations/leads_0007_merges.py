"""Rows that follow a merge of customers, and go back with its undo."""

from services.chassis.migrations import moves

revision = "leads_0007"
down_revision = "leads_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moves.create_tables("leads")


def downgrade() -> None:
    moves.drop_tables("leads")
