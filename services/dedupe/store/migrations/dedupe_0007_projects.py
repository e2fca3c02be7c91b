"""Projects that are registered, and suspects over them."""

import sqlalchemy as sa
from alembic import op

revision = "dedupe_0007"
down_revision = "dedupe_0006"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.create_table(
        "project",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("reservation_id", ID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("site_address", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("customer_id", ID, nullable=True),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("owner_name", sa.Text(), nullable=False),
        sa.Column("department_path", sa.Text(), nullable=False),
        sa.Column("close_reason", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("close_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reservation_id"],
            ["dedupe.reservation.tenant_id", "dedupe.reservation.reservation_id"],
            name=op.f("fk_project_tenant_id_reservation"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", name=op.f("pk_project")),
        schema="dedupe",
    )
    op.create_index(
        "ix_project_newest", "project", ["tenant_id", "state", "create_time", "project_id"], schema="dedupe"
    )
    op.create_index("ix_project_customer", "project", ["tenant_id", "customer_id"], schema="dedupe")
    op.add_column(
        "suspect",
        sa.Column("project_ids", sa.ARRAY(ID), server_default="{}", nullable=False),
        schema="dedupe",
    )
    op.create_index(
        "ix_suspect_projects", "suspect", ["project_ids"], schema="dedupe", postgresql_using="gin"
    )


def downgrade() -> None:
    op.drop_index("ix_suspect_projects", "suspect", schema="dedupe")
    op.drop_column("suspect", "project_ids", schema="dedupe")
    op.drop_table("project", schema="dedupe")
