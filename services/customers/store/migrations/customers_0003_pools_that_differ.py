"""Pools with scopes, quotas and rules of their own; caps, allocation, hand-overs, kinds of evidence."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "customers_0003"
down_revision = "customers_0002"
branch_labels = None
depends_on = None

# What was one time of evidence before counts as a follow-up: any kind restarts the clock by default. A customer that
# waits in a pool came there with its last change of owner.
FILL = """
UPDATE customers.customer SET last_follow_up_time = last_evidence_time WHERE last_evidence_time IS NOT NULL;

UPDATE customers.customer SET pool_time = last.create_time FROM (
    SELECT tenant_id, customer_id, max(create_time) AS create_time FROM customers.ownership_change
    WHERE to_owner_id IS NULL GROUP BY tenant_id, customer_id
) AS last
WHERE customer.owner_id IS NULL AND last.tenant_id = customer.tenant_id AND last.customer_id = customer.customer_id;
"""

REFUSE_CAP_LOG_CHANGE = """
CREATE FUNCTION customers.refuse_cap_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log of caps is append-only' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER cap_change_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON customers.cap_change
    FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_cap_log_change();
"""


def upgrade() -> None:
    op.create_table(
        "cap_change",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("change_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("cap_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("from_most", sa.Integer(), nullable=False),
        sa.Column("to_most", sa.Integer(), nullable=False),
        sa.Column("owned", sa.Integer(), nullable=False),
        sa.Column("contracted", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "change_id", name=op.f("pk_cap_change")),
        schema="customers",
    )
    op.create_index(
        "ix_cap_change_last",
        "cap_change",
        ["tenant_id", "person_id", "cap_id", "sequence"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "evidence_source",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("asked_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("through_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "source", name=op.f("pk_evidence_source")),
        schema="customers",
    )
    op.create_table(
        "hand_over",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("hand_over_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("from_person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("to_person_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("to_department_paths", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("moved", sa.Integer(), nullable=False),
        sa.Column("pooled", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hand_over_id", name=op.f("pk_hand_over")),
        schema="customers",
    )
    op.create_table(
        "owner_cap",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("cap_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("person_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("department_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("regions", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("levels", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("without_contracted", sa.Boolean(), nullable=False),
        sa.Column("without_business_types", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("adjustment", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "cap_id", name=op.f("pk_owner_cap")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_owner_cap_tenant_id_name")),
        schema="customers",
    )
    op.create_table(
        "staff",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("department_path", sa.Text(), nullable=False),
        sa.Column("roles", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("region_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", name=op.f("pk_staff")),
        schema="customers",
    )
    op.create_table(
        "allocation_rule",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("rule_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("regions", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("levels", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("least_loaded", sa.Boolean(), nullable=False),
        sa.Column("former_owner_first", sa.Boolean(), nullable=False),
        sa.Column("person_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pool_id"],
            ["customers.pool.tenant_id", "customers.pool.pool_id"],
            name=op.f("fk_allocation_rule_tenant_id_pool_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name=op.f("pk_allocation_rule")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_allocation_rule_tenant_id_name")),
        schema="customers",
    )
    op.add_column(
        "customer",
        sa.Column("last_follow_up_time", sa.DateTime(timezone=True), nullable=True),
        schema="customers",
    )
    op.add_column(
        "customer", sa.Column("last_call_time", sa.DateTime(timezone=True), nullable=True), schema="customers"
    )
    op.add_column(
        "customer",
        sa.Column("last_order_time", sa.DateTime(timezone=True), nullable=True),
        schema="customers",
    )
    op.add_column(
        "customer",
        sa.Column("last_contract_time", sa.DateTime(timezone=True), nullable=True),
        schema="customers",
    )
    op.add_column(
        "customer", sa.Column("pool_time", sa.DateTime(timezone=True), nullable=True), schema="customers"
    )
    op.add_column(
        "customer",
        sa.Column("allocate_due", sa.Boolean(), server_default="false", nullable=False),
        schema="customers",
    )
    op.create_index(
        "ix_customer_allocate",
        "customer",
        ["tenant_id", "pool_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("allocate_due"),
    )
    op.create_index(
        "ix_customer_pool_facets",
        "customer",
        ["tenant_id", "pool_id", "level", "region", "create_time", "customer_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("owner_id IS NULL AND state = 'active'"),
    )
    op.add_column(
        "ownership_change", sa.Column("batch_id", sa.Uuid(as_uuid=False), nullable=True), schema="customers"
    )
    op.add_column("pool", sa.Column("kind", sa.Text(), server_default="", nullable=False), schema="customers")
    op.add_column(
        "pool",
        sa.Column("reclaim", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("person_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("roles", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("region_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("admin_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("claim_requests", sa.Integer(), server_default="0", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("claim_period_days", sa.Integer(), server_default="1", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("cool_down_days", sa.Integer(), server_default="0", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("new_data_days", sa.Integer(), server_default="0", nullable=False),
        schema="customers",
    )
    op.add_column(
        "pool",
        sa.Column("hidden_fields", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "settings",
        sa.Column("reclaim", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        schema="customers",
    )
    op.add_column(
        "settings",
        sa.Column("lock_cap", sa.Integer(), server_default="0", nullable=False),
        schema="customers",
    )
    op.execute(FILL)
    op.execute(REFUSE_CAP_LOG_CHANGE)
