"""An export says when it last read a page: one whose process died is ended by it.

Those of before whose process died have nobody who watches them, and are ended here.
"""

import sqlalchemy as sa
from alembic import op

revision = "customers_0014"
down_revision = "customers_0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "export_run",
        sa.Column("alive_time", sa.DateTime(timezone=True), nullable=True),
        schema="customers",
    )
    op.execute(
        "UPDATE customers.export_run SET state = 'broken', end_time = now()"
        " WHERE state = 'started' AND create_time < now() - interval '1 day'"
    )


def downgrade() -> None:
    op.drop_column("export_run", "alive_time", schema="customers")
