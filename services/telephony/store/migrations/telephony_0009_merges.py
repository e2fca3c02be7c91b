"""Rows that follow a merge of customers, and go back with its undo."""

from services.chassis.migrations import moves

revision = "telephony_0009"
down_revision = "telephony_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moves.create_tables("telephony")


def downgrade() -> None:
    moves.drop_tables("telephony")
