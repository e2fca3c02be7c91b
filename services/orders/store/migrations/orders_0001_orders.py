"""Orders and their log, the counters of numbers, settings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "orders_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("handler", "event_id", name=op.f("pk_inbox")),
        schema="orders",
    )
    op.create_table(
        "number_counter",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", name=op.f("pk_number_counter")),
        schema="orders",
    )
    op.create_table(
        "order",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("opportunity_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("owner_department_path", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("remind_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_order_tenant_id_number")),
        sa.UniqueConstraint("tenant_id", "opportunity_id", name=op.f("uq_order_tenant_id_opportunity_id")),
        schema="orders",
    )
    op.create_index(
        "ix_order_newest", "order", ["tenant_id", "create_time", "id"], unique=False, schema="orders"
    )
    op.create_index(
        "ix_order_owner", "order", ["tenant_id", "owner_id", "create_time"], unique=False, schema="orders"
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        schema="orders",
    )
    op.create_index(
        op.f("ix_orders_outbox_lane_orders_outbox_shard_orders_outbox_id"),
        "outbox",
        ["lane", "shard", "id"],
        unique=False,
        schema="orders",
    )
    op.create_table(
        "request",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("caller_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "caller_id", "method", "request_id", name=op.f("pk_request")),
        schema="orders",
    )
    op.create_table(
        "settings",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("handle_within", sa.Interval(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_settings")),
        schema="orders",
    )
    op.create_table(
        "order_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order.id"], name=op.f("fk_order_change_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_change")),
        schema="orders",
    )
    op.create_index(
        op.f("ix_orders_order_change_order_id_orders_order_change_id"),
        "order_change",
        ["order_id", "id"],
        unique=False,
        schema="orders",
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_orders_order_change_order_id_orders_order_change_id"),
        table_name="order_change",
        schema="orders",
    )
    op.drop_table("order_change", schema="orders")
    op.drop_table("settings", schema="orders")
    op.drop_table("request", schema="orders")
    op.drop_index(
        op.f("ix_orders_outbox_lane_orders_outbox_shard_orders_outbox_id"),
        table_name="outbox",
        schema="orders",
    )
    op.drop_table("outbox", schema="orders")
    op.drop_index("ix_order_owner", table_name="order", schema="orders")
    op.drop_index("ix_order_newest", table_name="order", schema="orders")
    op.drop_table("order", schema="orders")
    op.drop_table("number_counter", schema="orders")
    op.drop_table("inbox", schema="orders")
