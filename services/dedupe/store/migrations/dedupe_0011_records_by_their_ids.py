"""The records of a customer and of a reservation are found by these first, then by the tenant, as keys are.

For the same reason as in `dedupe_0009`: a check read all records of a tenant that came since statistics were made.
"""

from alembic import op

revision = "dedupe_0011"
down_revision = "dedupe_0010"
branch_labels = None
depends_on = None

INDEXES = {"ix_match_record_customer": "customer_id", "ix_match_record_reservation": "reservation_id"}


def upgrade() -> None:
    for name, column in INDEXES.items():
        op.drop_index(name, "match_record", schema="dedupe")
        op.create_index(name, "match_record", [column, "tenant_id"], schema="dedupe")


def downgrade() -> None:
    for name, column in INDEXES.items():
        op.drop_index(name, "match_record", schema="dedupe")
        op.create_index(name, "match_record", ["tenant_id", column], schema="dedupe")
