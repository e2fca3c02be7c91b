"""Which change of owner a match record has heard of last: facts come by several queues, in any order."""

import sqlalchemy as sa
from alembic import op

revision = "dedupe_0008"
down_revision = "dedupe_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "match_record",
        sa.Column("owner_version", sa.BigInteger(), server_default="0", nullable=False),
        schema="dedupe",
    )


def downgrade() -> None:
    op.drop_column("match_record", "owner_version", schema="dedupe")
