"""What a hand-over did with each customer, and who may read of it."""

import sqlalchemy as sa
from alembic import op

revision = "customers_0007"
down_revision = "customers_0006"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.add_column(
        "hand_over",
        sa.Column("from_department_path", sa.Text(), server_default="", nullable=False),
        schema="customers",
    )
    op.add_column(
        "hand_over",
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        schema="customers",
    )
    op.add_column(
        "hand_over", sa.Column("end_time", sa.DateTime(timezone=True), nullable=True), schema="customers"
    )
    op.create_index(
        "ix_hand_over_newest", "hand_over", ["tenant_id", "create_time", "hand_over_id"], schema="customers"
    )
    op.create_table(
        "hand_over_item",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("hand_over_id", ID, nullable=False),
        sa.Column("customer_id", ID, nullable=False),
        sa.Column("to_person_id", ID, nullable=True),
        sa.Column("pool_id", ID, nullable=True),
        sa.Column("refusal", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hand_over_id", "customer_id", name=op.f("pk_hand_over_item")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "hand_over_id"],
            ["customers.hand_over.tenant_id", "customers.hand_over.hand_over_id"],
            name=op.f("fk_hand_over_item_tenant_id_hand_over_id"),
        ),
        schema="customers",
    )
    op.create_index(
        "ix_hand_over_item_order",
        "hand_over_item",
        ["tenant_id", "hand_over_id", "create_time", "customer_id"],
        schema="customers",
    )


def downgrade() -> None:
    op.drop_table("hand_over_item", schema="customers")
    op.drop_index("ix_hand_over_newest", "hand_over", schema="customers")
    for column in ("end_time", "refused", "from_department_path"):
        op.drop_column("hand_over", column, schema="customers")
