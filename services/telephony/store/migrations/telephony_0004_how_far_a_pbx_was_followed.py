"""Until when a PBX was followed without a gap."""

import sqlalchemy as sa
from alembic import op

revision = "telephony_0004"
down_revision = "telephony_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pbx_progress",
        sa.Column("pbx", sa.Text(), nullable=False),
        sa.Column("followed_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pbx", name=op.f("pk_pbx_progress")),
        schema="telephony",
    )
