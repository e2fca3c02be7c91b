"""Members of pools by role and region."""

import sqlalchemy as sa
from alembic import op

revision = "leads_0010"
down_revision = "leads_0009"
branch_labels = None
depends_on = None

SCHEMA = "leads"


def upgrade() -> None:
    for name, kind in (("roles", sa.Text()), ("region_ids", sa.Uuid(as_uuid=False))):
        op.add_column(
            "pool", sa.Column(name, sa.ARRAY(kind), server_default="{}", nullable=False), schema=SCHEMA
        )
    op.create_table(
        "staff",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("roles", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("region_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", name=op.f("pk_staff")),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("staff", schema=SCHEMA)
    for name in ("region_ids", "roles"):
        op.drop_column("pool", name, schema=SCHEMA)
