"""Names as they were taken apart, so that a comparison need not do it again."""

import sqlalchemy as sa
from alembic import op

revision = "dedupe_0004"
down_revision = "dedupe_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "match_record", sa.Column("whole", sa.Text(), server_default="", nullable=False), schema="dedupe"
    )
    op.add_column(
        "match_record", sa.Column("brand_length", sa.SmallInteger(), nullable=True), schema="dedupe"
    )
    op.add_column(
        "match_record",
        sa.Column("regions", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="dedupe",
    )
    # A query asks for rare grams by what `gram_count` says. The planner's own numbers make it believe in a hundred
    # times as many rows, so that it reads small tables from end to end; without numbers it takes the index.
    op.execute("ALTER TABLE dedupe.match_record ALTER COLUMN grams SET STATISTICS 0")


def downgrade() -> None:
    op.execute("ALTER TABLE dedupe.match_record ALTER COLUMN grams SET STATISTICS -1")
    op.drop_column("match_record", "regions", schema="dedupe")
    op.drop_column("match_record", "brand_length", schema="dedupe")
    op.drop_column("match_record", "whole", schema="dedupe")
