"""Of several customers of a name, the one that the caller of a conversion chose."""

import sqlalchemy as sa
from alembic import op

revision = "leads_0003"
down_revision = "leads_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "conversion", sa.Column("chosen_customer_id", sa.Uuid(as_uuid=False), nullable=True), schema="leads"
    )


def downgrade() -> None:
    op.drop_column("conversion", "chosen_customer_id", schema="leads")
