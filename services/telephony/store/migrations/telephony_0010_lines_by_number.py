"""A tenant's lines are found by their numbers: who sits where is asked twice a second, for every seat."""

from alembic import op

revision = "telephony_0010"
down_revision = "telephony_0009"
branch_labels = None
depends_on = None

OLD = "ix_telephony_line_tenant_id_telephony_line_kind"


def upgrade() -> None:
    op.create_index("ix_line_number", "line", ["tenant_id", "kind", "number"], schema="telephony")
    op.drop_index(OLD, "line", schema="telephony")


def downgrade() -> None:
    op.create_index(OLD, "line", ["tenant_id", "kind"], schema="telephony")
    op.drop_index("ix_line_number", "line", schema="telephony")
