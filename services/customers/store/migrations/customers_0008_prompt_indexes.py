"""Indexes of names and own fields take a row at once: emptying their lists held up whoever's turn it was."""

from alembic import op

revision = "customers_0008"
down_revision = "customers_0007"
branch_labels = None
depends_on = None

INDEXES = ("customers.ix_customer_pieces", "customers.ix_customer_custom")


def upgrade() -> None:
    for index in INDEXES:
        op.execute(f"ALTER INDEX {index} SET (fastupdate = off)")
        op.execute(f"SELECT gin_clean_pending_list('{index}')")


def downgrade() -> None:
    for index in INDEXES:
        op.execute(f"ALTER INDEX {index} RESET (fastupdate)")
