"""Rows that follow a merge of customers, and go back with its undo."""

from services.chassis.migrations import moves

revision = "orders_0004"
down_revision = "orders_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moves.create_tables("orders")


def downgrade() -> None:
    moves.drop_tables("orders")
