"""Where people work, so that a check shows a manager the customers of the department's people."""

import sqlalchemy as sa
from alembic import op

revision = "dedupe_0012"
down_revision = "dedupe_0011"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.create_table(
        "staff",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("department_path", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", name=op.f("pk_staff")),
        schema="dedupe",
    )


def downgrade() -> None:
    op.drop_table("staff", schema="dedupe")
