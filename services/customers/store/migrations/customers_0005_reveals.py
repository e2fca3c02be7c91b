"""revealed numbers."""

import sqlalchemy as sa
from alembic import op

revision = "customers_0005"
down_revision = "customers_0004"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.create_table(
        "reveal",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("reveal_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("phone_id", ID, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "reveal_id", name=op.f("pk_reveal")),
        schema="customers",
    )
    op.create_index(
        "ix_reveal_person", "reveal", ["tenant_id", "person_id", "create_time"], schema="customers"
    )


def downgrade() -> None:
    op.drop_table("reveal", schema="customers")
