"""where an order is delivered to."""

import sqlalchemy as sa
from alembic import op

revision = "orders_0006"
down_revision = "orders_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "order", sa.Column("ship_to", sa.Text(), server_default="", nullable=False), schema="orders"
    )


def downgrade() -> None:
    op.drop_column("order", "ship_to", schema="orders")
