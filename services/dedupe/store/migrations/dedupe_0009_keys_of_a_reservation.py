"""The keys of a reservation are found by it first, then by the tenant.

Of a tenant that came since statistics were made PostgreSQL believes that it has no rows. Any index that begins with the
tenant seems as good then, and each look-up of a key read all keys that the tenant had.
"""

from alembic import op

revision = "dedupe_0009"
down_revision = "dedupe_0008"
branch_labels = None
depends_on = None

OLD = "ix_dedupe_held_key_tenant_id_dedupe_held_key_reservation_id"


def upgrade() -> None:
    op.create_index("ix_held_key_reservation", "held_key", ["reservation_id", "tenant_id"], schema="dedupe")
    op.drop_index(OLD, "held_key", schema="dedupe")


def downgrade() -> None:
    op.create_index(OLD, "held_key", ["tenant_id", "reservation_id"], schema="dedupe")
    op.drop_index("ix_held_key_reservation", "held_key", schema="dedupe")
