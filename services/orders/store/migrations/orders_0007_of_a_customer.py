"""What a customer's page lists is found by the customer: orders, contracts and quotes."""

from alembic import op

revision = "orders_0007"
down_revision = "orders_0006"
branch_labels = None
depends_on = None

TABLES = ("order", "contract", "quote")


def upgrade() -> None:
    for table in TABLES:
        op.create_index(
            f"ix_{table}_customer", table, ["tenant_id", "customer_id", "create_time", "id"], schema="orders"
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"ix_{table}_customer", table, schema="orders")
