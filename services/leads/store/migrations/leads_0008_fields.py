"""fields of the tenant's own for leads."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "leads_0008"
down_revision = "leads_0007"
branch_labels = None
depends_on = None

SCHEMA = "leads"


def upgrade() -> None:
    op.create_table(
        "field",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("is_unique", sa.Boolean(), nullable=False),
        sa.Column("searchable", sa.Boolean(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("max_length", sa.Integer(), nullable=False),
        sa.Column("choices", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "object", "key", name=op.f("pk_field")),
        schema=SCHEMA,
    )
    op.create_table(
        "field_value",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "object", "key", "record_id", name=op.f("pk_field_value")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_field_value_held",
        "field_value",
        ["tenant_id", "object", "key", "value"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("held"),
    )
    op.create_index(
        "ix_field_value_found", "field_value", ["tenant_id", "object", "value"], unique=False, schema=SCHEMA
    )
    op.add_column(
        "lead",
        sa.Column("fields", postgresql.JSONB(), server_default="{}", nullable=False),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_column("lead", "fields", schema=SCHEMA)
    for table in ("field_value", "field"):
        op.drop_table(table, schema=SCHEMA)
