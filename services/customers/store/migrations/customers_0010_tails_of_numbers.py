"""The last digits of a number are a column: row-level security lets no index over a function be used."""

import sqlalchemy as sa
from alembic import op

revision = "customers_0010"
down_revision = "customers_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "phone",
        sa.Column("tail", sa.Text(), sa.Computed("reverse(e164)", persisted=True), nullable=False),
        schema="customers",
    )
    op.drop_index("ix_phone_tail", "phone", schema="customers")
    op.create_index(
        "ix_phone_tail",
        "phone",
        ["tenant_id", "tail"],
        schema="customers",
        postgresql_ops={"tail": "text_pattern_ops"},
    )


def downgrade() -> None:
    op.drop_index("ix_phone_tail", "phone", schema="customers")
    op.create_index(
        "ix_phone_tail",
        "phone",
        ["tenant_id", sa.literal_column("reverse(e164)").label("tail")],
        schema="customers",
        postgresql_ops={"tail": "text_pattern_ops"},
    )
    op.drop_column("phone", "tail", schema="customers")
