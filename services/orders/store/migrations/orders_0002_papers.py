"""Products, lines, contracts, files and the cashier's journal."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "orders_0002"
down_revision = "orders_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("balance", sa.Numeric(precision=16, scale=2), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_account_tenant_id_name")),
        schema="orders",
    )
    op.create_table(
        "blob",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name=op.f("pk_blob")),
        schema="orders",
    )
    op.create_table(
        "contract",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("owner_department_path", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contract")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_contract_tenant_id_number")),
        schema="orders",
    )
    op.create_index(
        "ix_contract_ending",
        "contract",
        ["tenant_id", "end_date"],
        unique=False,
        schema="orders",
        postgresql_where=sa.text("state = 'effective'"),
    )
    op.create_index(
        "ix_contract_newest", "contract", ["tenant_id", "create_time", "id"], unique=False, schema="orders"
    )
    op.create_index(
        "ix_contract_owner",
        "contract",
        ["tenant_id", "owner_id", "create_time"],
        unique=False,
        schema="orders",
    )
    op.create_table(
        "contract_counter",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", name=op.f("pk_contract_counter")),
        schema="orders",
    )
    op.create_table(
        "product",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint("tenant_id", "code", name=op.f("uq_product_tenant_id_code")),
        schema="orders",
    )
    op.create_table(
        "product_fields",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("definitions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_product_fields")),
        schema="orders",
    )
    op.create_table(
        "staff",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("department_path", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", name=op.f("pk_staff")),
        schema="orders",
    )
    op.create_table(
        "attachment",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("uploader_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "digest"],
            ["orders.blob.tenant_id", "orders.blob.digest"],
            name=op.f("fk_attachment_tenant_id_digest"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
        schema="orders",
    )
    op.create_index(
        "ix_attachment_subject", "attachment", ["tenant_id", "subject_id"], unique=False, schema="orders"
    )
    op.create_table(
        "contract_version",
        sa.Column("contract_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["contract_id"], ["orders.contract.id"], name=op.f("fk_contract_version_contract_id")
        ),
        sa.PrimaryKeyConstraint("contract_id", "version", name=op.f("pk_contract_version")),
        schema="orders",
    )
    op.create_table(
        "order_line",
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("product_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("product_code", sa.Text(), nullable=False),
        sa.Column("product_name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order.id"], name=op.f("fk_order_line_order_id")),
        sa.PrimaryKeyConstraint("order_id", "position", name=op.f("pk_order_line")),
        schema="orders",
    )
    op.create_index(
        "ix_order_line_product", "order_line", ["tenant_id", "product_id"], unique=False, schema="orders"
    )
    op.create_table(
        "voucher",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("contract_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("account_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("submitter_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["orders.account.id"], name=op.f("fk_voucher_account_id")),
        sa.ForeignKeyConstraint(["contract_id"], ["orders.contract.id"], name=op.f("fk_voucher_contract_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher")),
        schema="orders",
    )
    op.create_index(
        "ix_voucher_contract",
        "voucher",
        ["tenant_id", "contract_id", "create_time"],
        unique=False,
        schema="orders",
    )
    op.create_table(
        "journal",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("account_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("voucher_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("amount", sa.Numeric(precision=16, scale=2), nullable=False),
        sa.Column("balance", sa.Numeric(precision=16, scale=2), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["orders.account.id"], name=op.f("fk_journal_account_id")),
        sa.ForeignKeyConstraint(["voucher_id"], ["orders.voucher.id"], name=op.f("fk_journal_voucher_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
        sa.UniqueConstraint("tenant_id", "voucher_id", name=op.f("uq_journal_tenant_id_voucher_id")),
        schema="orders",
    )
    op.create_index(
        "ix_journal_account", "journal", ["tenant_id", "account_id", "id"], unique=False, schema="orders"
    )
    op.add_column("order", sa.Column("contract_id", sa.Uuid(as_uuid=False), nullable=True), schema="orders")
    op.add_column(
        "settings",
        sa.Column("submit_without_papers", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        schema="orders",
    )


def downgrade() -> None:
    op.drop_column("settings", "submit_without_papers", schema="orders")
    op.drop_column("order", "contract_id", schema="orders")
    op.drop_index("ix_journal_account", table_name="journal", schema="orders")
    op.drop_table("journal", schema="orders")
    op.drop_index("ix_voucher_contract", table_name="voucher", schema="orders")
    op.drop_table("voucher", schema="orders")
    op.drop_index("ix_order_line_product", table_name="order_line", schema="orders")
    op.drop_table("order_line", schema="orders")
    op.drop_table("contract_version", schema="orders")
    op.drop_index("ix_attachment_subject", table_name="attachment", schema="orders")
    op.drop_table("attachment", schema="orders")
    op.drop_table("staff", schema="orders")
    op.drop_table("product_fields", schema="orders")
    op.drop_table("product", schema="orders")
    op.drop_table("contract_counter", schema="orders")
    op.drop_index("ix_contract_owner", table_name="contract", schema="orders")
    op.drop_index("ix_contract_newest", table_name="contract", schema="orders")
    op.drop_index(
        "ix_contract_ending",
        table_name="contract",
        schema="orders",
        postgresql_where=sa.text("state = 'effective'"),
    )
    op.drop_table("contract", schema="orders")
    op.drop_table("blob", schema="orders")
    op.drop_table("account", schema="orders")
