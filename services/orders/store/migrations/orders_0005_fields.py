"""fields of the tenant's own for products and contracts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "orders_0005"
down_revision = "orders_0004"
branch_labels = None
depends_on = None

SCHEMA = "orders"


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
        "contract",
        sa.Column("fields", postgresql.JSONB(), server_default="{}", nullable=False),
        schema=SCHEMA,
    )
    op.add_column(
        "contract_version",
        sa.Column("fields", postgresql.JSONB(), server_default="{}", nullable=False),
        schema=SCHEMA,
    )
    op.execute(
        """
        INSERT INTO orders.field (tenant_id, object, key, name, type, required, is_unique, searchable, listed,
            max_length, choices, position, active, version)
        SELECT p.tenant_id, 'product', d.item->>'key', d.item->>'name', d.item->>'type', (d.item->>'required')::boolean,
            false, false, false, 200, ARRAY(SELECT jsonb_array_elements_text(d.item->'choices')), d.position, true, 1
        FROM orders.product_fields p
        CROSS JOIN LATERAL jsonb_array_elements(p.definitions) WITH ORDINALITY AS d(item, position)
        """
    )


def downgrade() -> None:
    for table in ("contract_version", "contract"):
        op.drop_column(table, "fields", schema=SCHEMA)
    for table in ("field_value", "field"):
        op.drop_table(table, schema=SCHEMA)
