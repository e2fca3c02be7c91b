"""Find a lead by its number while a phone rings."""

import sqlalchemy as sa
from alembic import op

revision = "leads_0006"
down_revision = "leads_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_lead_phone",
        "lead",
        ["tenant_id", "phone"],
        schema="leads",
        postgresql_where=sa.text("phone <> ''"),
    )


def downgrade() -> None:
    op.drop_index("ix_lead_phone", table_name="lead", schema="leads")
