"""Registered sources end."""

import sqlalchemy as sa
from alembic import op

revision = "leads_0011"
down_revision = "leads_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("capture_source", sa.Column("end_time", sa.DateTime(timezone=True)), schema="leads")


def downgrade() -> None:
    op.drop_column("capture_source", "end_time", schema="leads")
