"""Imports: a file's parts and staged rows; exports: who took what out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "customers_0002"
down_revision = "customers_0001"
branch_labels = None
depends_on = None

JOB = ["customers.import_job.tenant_id", "customers.import_job.import_id"]


def upgrade() -> None:
    op.create_table(
        "import_job",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("import_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_key", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("columns", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("mapping", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("creator_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("creator_name", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("owner_department_path", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("checked_line", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("error_reason", sa.Text(), nullable=False),
        sa.Column("error_zh", sa.Text(), nullable=False),
        sa.Column("error_en", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pool_id"],
            ["customers.pool.tenant_id", "customers.pool.pool_id"],
            name=op.f("fk_import_job_tenant_id_pool_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "import_id", name=op.f("pk_import_job")),
        schema="customers",
    )
    op.create_index(
        "ix_import_job_creator",
        "import_job",
        ["tenant_id", "creator_id", "create_time", "import_id"],
        schema="customers",
    )
    op.create_table(
        "import_chunk",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("import_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "import_id"],
            JOB,
            name=op.f("fk_import_chunk_tenant_id_import_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "import_id", "offset_bytes", name=op.f("pk_import_chunk")),
        schema="customers",
    )
    op.create_table(
        "import_row",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("import_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("cells", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("edited", sa.Boolean(), nullable=False),
        sa.Column("faults", postgresql.JSONB(), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "import_id"],
            JOB,
            name=op.f("fk_import_row_tenant_id_import_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "import_id", "line", name=op.f("pk_import_row")),
        schema="customers",
    )
    op.create_index(
        "ix_import_row_state",
        "import_row",
        ["tenant_id", "import_id", "state", "line"],
        schema="customers",
    )
    op.create_table(
        "export_run",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("export_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("filter", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "export_id", name=op.f("pk_export_run")),
        schema="customers",
    )
    op.create_index("ix_export_run_newest", "export_run", ["tenant_id", "create_time"], schema="customers")


def downgrade() -> None:
    for table in ("export_run", "import_row", "import_chunk", "import_job"):
        op.drop_table(table, schema="customers")
