"""Records with fields of the tenant's own, categories, addresses, plans, a timeline, saved views; quick search."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.customers.domain.search import fold, name_pieces
from services.kernel.pinyin import initials

revision = "customers_0004"
down_revision = "customers_0003"
branch_labels = None
depends_on = None


# Names that get their pieces in one step.
BATCH = 1000


def fill_search() -> None:
    """Lay down what the quick search finds the customers by that are there already."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT tenant_id, customer_id, name FROM customers.customer")).all()
    change = sa.text(
        "UPDATE customers.customer SET search_name = :search_name, initials = :initials, pieces = :pieces"
        " WHERE tenant_id = :tenant_id AND customer_id = :customer_id"
    )
    for start in range(0, len(rows), BATCH):
        connection.execute(
            change,
            [
                {
                    "tenant_id": row.tenant_id,
                    "customer_id": row.customer_id,
                    "search_name": fold(row.name),
                    "initials": initials(row.name),
                    "pieces": name_pieces(row.name),
                }
                for row in rows[start : start + BATCH]
            ],
        )


def upgrade() -> None:
    op.create_table(
        "category",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("category_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("parent_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent_id"],
            ["customers.category.tenant_id", "customers.category.category_id"],
            name=op.f("fk_category_tenant_id_parent_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "category_id", name=op.f("pk_category")),
        sa.UniqueConstraint(
            "tenant_id",
            "parent_id",
            "name",
            name=op.f("uq_category_tenant_id_parent_id_name"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="customers",
    )
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
        schema="customers",
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
        schema="customers",
    )
    op.create_index(
        "ix_field_value_found",
        "field_value",
        ["tenant_id", "object", "value"],
        unique=False,
        schema="customers",
    )
    op.create_index(
        "ix_field_value_held",
        "field_value",
        ["tenant_id", "object", "key", "value"],
        unique=True,
        schema="customers",
        postgresql_where=sa.text("held"),
    )
    op.create_table(
        "saved_view",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("view_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("filter", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("order_by", sa.Text(), nullable=False),
        sa.Column("columns", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "view_id", name=op.f("pk_saved_view")),
        sa.UniqueConstraint(
            "tenant_id", "person_id", "name", name=op.f("uq_saved_view_tenant_id_person_id_name")
        ),
        schema="customers",
    )
    op.create_table(
        "timeline_entry",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("entry_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "entry_id", name=op.f("pk_timeline_entry")),
        schema="customers",
    )
    op.create_index(
        "ix_timeline_entry_newest",
        "timeline_entry",
        ["tenant_id", "customer_id", "time", "entry_id"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "address",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("address_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "customer_id"],
            ["customers.customer.tenant_id", "customers.customer.customer_id"],
            name=op.f("fk_address_tenant_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "address_id", name=op.f("pk_address")),
        schema="customers",
    )
    op.create_index(
        "ix_address_customer",
        "address",
        ["tenant_id", "customer_id", "position"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "plan",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("plan_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("complete_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("follow_up_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "customer_id"],
            ["customers.customer.tenant_id", "customers.customer.customer_id"],
            name=op.f("fk_plan_tenant_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "plan_id", name=op.f("pk_plan")),
        schema="customers",
    )
    op.create_index(
        "ix_plan_customer",
        "plan",
        ["tenant_id", "customer_id", "due_time", "plan_id"],
        unique=False,
        schema="customers",
    )
    op.create_index(
        "ix_plan_open",
        "plan",
        ["tenant_id", "person_id", "due_time", "plan_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("complete_time IS NULL"),
    )
    op.add_column(
        "contact", sa.Column("address", sa.Text(), server_default="", nullable=False), schema="customers"
    )
    op.add_column(
        "contact", sa.Column("account", sa.Text(), server_default="", nullable=False), schema="customers"
    )
    op.add_column("contact", sa.Column("birthday", sa.Date(), nullable=True), schema="customers")
    op.add_column(
        "contact", sa.Column("hobbies", sa.Text(), server_default="", nullable=False), schema="customers"
    )
    op.create_index(
        "ix_contact_name",
        "contact",
        ["tenant_id", "name"],
        unique=False,
        schema="customers",
        postgresql_ops={"name": "text_pattern_ops"},
    )
    op.add_column(
        "customer",
        sa.Column("custom", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "customer", sa.Column("category_id", sa.Uuid(as_uuid=False), nullable=True), schema="customers"
    )
    op.add_column(
        "customer",
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "customer", sa.Column("hot", sa.Boolean(), server_default="false", nullable=False), schema="customers"
    )
    op.add_column(
        "customer",
        sa.Column("dealer", sa.Boolean(), server_default="false", nullable=False),
        schema="customers",
    )
    op.add_column(
        "customer", sa.Column("dealer_id", sa.Uuid(as_uuid=False), nullable=True), schema="customers"
    )
    op.add_column(
        "customer", sa.Column("parent_id", sa.Uuid(as_uuid=False), nullable=True), schema="customers"
    )
    op.add_column(
        "customer",
        sa.Column("finance", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "customer", sa.Column("search_name", sa.Text(), server_default="", nullable=False), schema="customers"
    )
    op.add_column(
        "customer", sa.Column("initials", sa.Text(), server_default="", nullable=False), schema="customers"
    )
    op.add_column(
        "customer",
        sa.Column("pieces", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    fill_search()
    op.create_index(
        "ix_customer_category",
        "customer",
        ["tenant_id", "category_id", "create_time"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("category_id IS NOT NULL"),
    )
    op.create_index(
        "ix_customer_custom",
        "customer",
        ["custom"],
        unique=False,
        schema="customers",
        postgresql_using="gin",
        postgresql_ops={"custom": "jsonb_path_ops"},
    )
    op.create_index(
        "ix_customer_dealer",
        "customer",
        ["tenant_id", "dealer_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("dealer_id IS NOT NULL"),
    )
    op.create_index(
        "ix_customer_evidence",
        "customer",
        [
            "tenant_id",
            sa.literal_column(
                "COALESCE(last_evidence_time, '1970-01-01 00:00:00+00'::timestamp with time zone)"
            ),
            "customer_id",
        ],
        unique=False,
        schema="customers",
    )
    op.create_index(
        "ix_customer_hot",
        "customer",
        ["tenant_id", "create_time", "customer_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("hot"),
    )
    op.create_index(
        "ix_customer_initials",
        "customer",
        ["tenant_id", "initials", "customer_id"],
        unique=False,
        schema="customers",
    )
    op.create_index(
        "ix_customer_parent",
        "customer",
        ["tenant_id", "parent_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "ix_customer_pieces", "customer", ["pieces"], unique=False, schema="customers", postgresql_using="gin"
    )
    op.create_index(
        "ix_phone_tail",
        "phone",
        ["tenant_id", sa.literal_column("reverse(e164)").label("tail")],
        unique=False,
        schema="customers",
        postgresql_ops={"tail": "text_pattern_ops"},
    )


def downgrade() -> None:
    op.drop_index("ix_phone_tail", table_name="phone", schema="customers")
    op.drop_index("ix_customer_pieces", table_name="customer", schema="customers", postgresql_using="gin")
    op.drop_index(
        "ix_customer_parent",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.drop_index("ix_customer_initials", table_name="customer", schema="customers")
    op.drop_index(
        "ix_customer_hot", table_name="customer", schema="customers", postgresql_where=sa.text("hot")
    )
    op.drop_index("ix_customer_evidence", table_name="customer", schema="customers")
    op.drop_index(
        "ix_customer_dealer",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("dealer_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_customer_custom",
        table_name="customer",
        schema="customers",
        postgresql_using="gin",
        postgresql_ops={"custom": "jsonb_path_ops"},
    )
    op.drop_index(
        "ix_customer_category",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("category_id IS NOT NULL"),
    )
    op.drop_column("customer", "pieces", schema="customers")
    op.drop_column("customer", "initials", schema="customers")
    op.drop_column("customer", "search_name", schema="customers")
    op.drop_column("customer", "finance", schema="customers")
    op.drop_column("customer", "parent_id", schema="customers")
    op.drop_column("customer", "dealer_id", schema="customers")
    op.drop_column("customer", "dealer", schema="customers")
    op.drop_column("customer", "hot", schema="customers")
    op.drop_column("customer", "tags", schema="customers")
    op.drop_column("customer", "category_id", schema="customers")
    op.drop_column("customer", "custom", schema="customers")
    op.drop_index(
        "ix_contact_name",
        table_name="contact",
        schema="customers",
        postgresql_ops={"name": "text_pattern_ops"},
    )
    op.drop_column("contact", "hobbies", schema="customers")
    op.drop_column("contact", "birthday", schema="customers")
    op.drop_column("contact", "account", schema="customers")
    op.drop_column("contact", "address", schema="customers")
    op.drop_index(
        "ix_plan_open",
        table_name="plan",
        schema="customers",
        postgresql_where=sa.text("complete_time IS NULL"),
    )
    op.drop_index("ix_plan_customer", table_name="plan", schema="customers")
    op.drop_table("plan", schema="customers")
    op.drop_index("ix_address_customer", table_name="address", schema="customers")
    op.drop_table("address", schema="customers")
    op.drop_index("ix_timeline_entry_newest", table_name="timeline_entry", schema="customers")
    op.drop_table("timeline_entry", schema="customers")
    op.drop_table("saved_view", schema="customers")
    op.drop_index(
        "ix_field_value_held", table_name="field_value", schema="customers", postgresql_where=sa.text("held")
    )
    op.drop_index("ix_field_value_found", table_name="field_value", schema="customers")
    op.drop_table("field_value", schema="customers")
    op.drop_table("field", schema="customers")
    op.drop_table("category", schema="customers")
