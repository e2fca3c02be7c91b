"""The owner of the customer that a person linked to a call."""

import sqlalchemy as sa
from alembic import op

revision = "telephony_0002"
down_revision = "telephony_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "call",
        sa.Column("customer_owner_id", sa.Uuid(as_uuid=False), nullable=True),
        schema="telephony",
    )
