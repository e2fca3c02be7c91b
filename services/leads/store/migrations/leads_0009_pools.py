"""pools beside the tenant's own."""

import sqlalchemy as sa
from alembic import op

revision = "leads_0009"
down_revision = "leads_0008"
branch_labels = None
depends_on = None

SCHEMA = "leads"


def upgrade() -> None:
    op.create_table(
        "pool",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("department_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("person_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("daily_claims", sa.Integer(), nullable=False),
        sa.Column("idle_days", sa.Integer(), nullable=False),
        sa.Column("warn_days", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_pool_tenant_id_name")),
        schema=SCHEMA,
    )
    # NULL: the tenant's own, as of every lead there is, and of those that the release before makes meanwhile.
    for table in ("lead", "ownership_change", "capture_source"):
        op.add_column(table, sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=True), schema=SCHEMA)
    op.create_index(
        "ix_lead_waiting",
        "lead",
        ["tenant_id", "pool_id", "create_time"],
        unique=False,
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'unassigned'"),
    )


def downgrade() -> None:
    op.drop_index("ix_lead_waiting", "lead", schema=SCHEMA)
    for table in ("capture_source", "ownership_change", "lead"):
        op.drop_column(table, "pool_id", schema=SCHEMA)
    op.drop_table("pool", schema=SCHEMA)
