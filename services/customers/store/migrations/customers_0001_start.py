"""Customers, pools and the ownership ledger, with what the database itself refuses."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "customers_0001"
down_revision = None
branch_labels = None
depends_on = None

# The ledger is append-only.
REFUSE_LEDGER_CHANGE = """
CREATE FUNCTION customers.refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ownership ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER ownership_change_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON customers.ownership_change
    FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_ledger_change();
"""

# A customer's owner is whom the last row of the ledger names; nobody, where it has no row.
REFUSE_OWNER_WITHOUT_LEDGER = """
CREATE FUNCTION customers.refuse_owner_without_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.owner_id IS DISTINCT FROM (
        SELECT to_owner_id FROM customers.ownership_change
        WHERE tenant_id = NEW.tenant_id AND customer_id = NEW.customer_id
        ORDER BY sequence DESC LIMIT 1
    ) THEN
        RAISE EXCEPTION 'the owner of customer % is not the one that the ledger names', NEW.customer_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER owner_follows_ledger
    AFTER INSERT OR UPDATE OF owner_id ON customers.customer
    FOR EACH ROW EXECUTE FUNCTION customers.refuse_owner_without_ledger();
"""


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("handler", "event_id", name=op.f("pk_inbox")),
        schema="customers",
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
        schema="customers",
    )
    op.create_index(
        op.f("ix_customers_outbox_lane_customers_outbox_shard_customers_outbox_id"),
        "outbox",
        ["lane", "shard", "id"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "owner_counter",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "owner_id", name=op.f("pk_owner_counter")),
        schema="customers",
    )
    op.create_table(
        "pool",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("idle_days", sa.Integer(), nullable=False),
        sa.Column("warn_days", sa.Integer(), nullable=False),
        sa.Column("department_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), nullable=False),
        sa.Column("daily_claims", sa.Integer(), nullable=False),
        sa.Column("rule_version", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "pool_id", name=op.f("pk_pool")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_pool_tenant_id_name")),
        schema="customers",
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
        schema="customers",
    )
    op.create_table(
        "reservation_outcome",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("reservation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "reservation_id", name=op.f("pk_reservation_outcome")),
        schema="customers",
    )
    op.create_table(
        "customer",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("business_type", sa.Text(), nullable=False),
        sa.Column("submitter_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("approver_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("reservation_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("owner_department_path", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("own_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_evidence_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lock_expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("warned_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("warn_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reclaim_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rule_version", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "owner_id IS NULL OR (state = 'active' AND own_time IS NOT NULL)", name=op.f("ck_customer_owned")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pool_id"],
            ["customers.pool.tenant_id", "customers.pool.pool_id"],
            name=op.f("fk_customer_tenant_id_pool_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "customer_id", name=op.f("pk_customer")),
        schema="customers",
    )
    op.create_index(
        "ix_customer_lock",
        "customer",
        ["tenant_id", "pool_id", "lock_expire_time"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("lock_expire_time IS NOT NULL"),
    )
    op.create_index(
        "ix_customer_newest",
        "customer",
        ["tenant_id", "create_time", "customer_id"],
        unique=False,
        schema="customers",
    )
    op.create_index(
        "ix_customer_owner",
        "customer",
        ["tenant_id", "owner_id", "create_time", "customer_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_index(
        "ix_customer_pending",
        "customer",
        ["tenant_id", "submitter_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_customer_pool",
        "customer",
        ["tenant_id", "pool_id", "create_time", "customer_id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("owner_id IS NULL AND state = 'active'"),
    )
    op.create_index(
        "ix_customer_reclaim_due",
        "customer",
        ["tenant_id", "pool_id", "reclaim_due_at"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("reclaim_due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_customer_rule",
        "customer",
        ["tenant_id", "pool_id", "rule_version"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_index(
        "ix_customer_warn_due",
        "customer",
        ["tenant_id", "pool_id", "warn_due_at"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("warn_due_at IS NOT NULL"),
    )
    op.create_table(
        "settings",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("registration_required", sa.Boolean(), nullable=False),
        sa.Column("owner_cap", sa.Integer(), nullable=False),
        sa.Column("idle_days", sa.Integer(), nullable=False),
        sa.Column("warn_days", sa.Integer(), nullable=False),
        sa.Column("default_pool_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("rule_version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "default_pool_id"],
            ["customers.pool.tenant_id", "customers.pool.pool_id"],
            name=op.f("fk_settings_tenant_id_default_pool_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_settings")),
        schema="customers",
    )
    op.create_table(
        "contact",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("contact_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "customer_id"],
            ["customers.customer.tenant_id", "customers.customer.customer_id"],
            name=op.f("fk_contact_tenant_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "contact_id", name=op.f("pk_contact")),
        schema="customers",
    )
    op.create_index(
        "ix_contact_customer", "contact", ["tenant_id", "customer_id"], unique=False, schema="customers"
    )
    op.create_table(
        "follow_up",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("follow_up_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "customer_id"],
            ["customers.customer.tenant_id", "customers.customer.customer_id"],
            name=op.f("fk_follow_up_tenant_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "follow_up_id", name=op.f("pk_follow_up")),
        schema="customers",
    )
    op.create_index(
        "ix_follow_up_newest",
        "follow_up",
        ["tenant_id", "customer_id", "create_time", "follow_up_id"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "ownership_change",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("change_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("from_owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("to_owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("pool_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.BigInteger(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "customer_id"],
            ["customers.customer.tenant_id", "customers.customer.customer_id"],
            name=op.f("fk_ownership_change_tenant_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "change_id", name=op.f("pk_ownership_change")),
        schema="customers",
    )
    op.create_index(
        "ix_ownership_change_claims",
        "ownership_change",
        ["tenant_id", "to_owner_id", "create_time"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("cause = 'claim'"),
    )
    op.create_index(
        "ix_ownership_change_customer",
        "ownership_change",
        ["tenant_id", "customer_id", "sequence"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "phone",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("phone_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("contact_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("e164", sa.Text(), nullable=False),
        sa.Column("extension", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "contact_id"],
            ["customers.contact.tenant_id", "customers.contact.contact_id"],
            name=op.f("fk_phone_tenant_id_contact_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "customer_id"],
            ["customers.customer.tenant_id", "customers.customer.customer_id"],
            name=op.f("fk_phone_tenant_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "phone_id", name=op.f("pk_phone")),
        schema="customers",
    )
    op.create_index(
        "ix_phone_customer", "phone", ["tenant_id", "customer_id"], unique=False, schema="customers"
    )
    op.create_index("ix_phone_e164", "phone", ["tenant_id", "e164"], unique=False, schema="customers")
    op.execute(REFUSE_LEDGER_CHANGE)
    op.execute(REFUSE_OWNER_WITHOUT_LEDGER)


def downgrade() -> None:
    op.drop_index("ix_phone_e164", table_name="phone", schema="customers")
    op.drop_index("ix_phone_customer", table_name="phone", schema="customers")
    op.drop_table("phone", schema="customers")
    op.drop_index("ix_ownership_change_customer", table_name="ownership_change", schema="customers")
    op.drop_index(
        "ix_ownership_change_claims",
        table_name="ownership_change",
        schema="customers",
        postgresql_where=sa.text("cause = 'claim'"),
    )
    op.drop_table("ownership_change", schema="customers")
    op.drop_index("ix_follow_up_newest", table_name="follow_up", schema="customers")
    op.drop_table("follow_up", schema="customers")
    op.drop_index("ix_contact_customer", table_name="contact", schema="customers")
    op.drop_table("contact", schema="customers")
    op.drop_table("settings", schema="customers")
    op.drop_index(
        "ix_customer_warn_due",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("warn_due_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_customer_rule",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_customer_reclaim_due",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("reclaim_due_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_customer_pool",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("owner_id IS NULL AND state = 'active'"),
    )
    op.drop_index(
        "ix_customer_pending",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.drop_index(
        "ix_customer_owner",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.drop_index("ix_customer_newest", table_name="customer", schema="customers")
    op.drop_index(
        "ix_customer_lock",
        table_name="customer",
        schema="customers",
        postgresql_where=sa.text("lock_expire_time IS NOT NULL"),
    )
    op.drop_table("customer", schema="customers")
    op.drop_table("reservation_outcome", schema="customers")
    op.drop_table("request", schema="customers")
    op.drop_table("pool", schema="customers")
    op.drop_table("owner_counter", schema="customers")
    op.drop_index(
        op.f("ix_customers_outbox_lane_customers_outbox_shard_customers_outbox_id"),
        table_name="outbox",
        schema="customers",
    )
    op.drop_table("outbox", schema="customers")
    op.drop_table("inbox", schema="customers")
    op.execute("DROP FUNCTION customers.refuse_owner_without_ledger, customers.refuse_ledger_change")
