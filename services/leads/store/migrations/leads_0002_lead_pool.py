"""The lead pool: who owned a lead and why, its rules, and the sources that leads come from."""

import sqlalchemy as sa
from alembic import op

revision = "leads_0002"
down_revision = "leads_0001"
branch_labels = None
depends_on = None

# Leads that were owned before there was a ledger.
FIRST_ROWS = """
INSERT INTO leads.ownership_change
    (tenant_id, lead_id, from_owner_id, to_owner_id, cause, actor_id, reason, create_time)
SELECT tenant_id, id, NULL, owner_id, CASE WHEN source = '' THEN 'create' ELSE 'assign' END, NULL, '', create_time
FROM leads.lead WHERE owner_id IS NOT NULL;

UPDATE leads.lead SET last_follow_time = followed.time FROM (
    SELECT lead_id, max(create_time) AS time FROM leads.lead_change
    WHERE to_state = 'following' AND text <> '' GROUP BY lead_id
) AS followed WHERE followed.lead_id = lead.id;

UPDATE leads.lead SET evidence_time = now() WHERE owner_id IS NOT NULL;

UPDATE leads.lead SET opportunity_id = conversion.opportunity_id FROM leads.conversion
WHERE conversion.lead_id = lead.id AND conversion.state = 'done';
"""

# The ledger is append-only; a lead's owner is whom its last row names; nobody, where it has no row.
GUARDS = """
CREATE FUNCTION leads.refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ownership ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER ownership_change_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON leads.ownership_change
    FOR EACH STATEMENT EXECUTE FUNCTION leads.refuse_ledger_change();

CREATE FUNCTION leads.refuse_owner_without_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.owner_id IS DISTINCT FROM (
        SELECT to_owner_id FROM leads.ownership_change WHERE lead_id = NEW.id ORDER BY id DESC LIMIT 1
    ) THEN
        RAISE EXCEPTION 'the owner of lead % is not the one that the ledger names', NEW.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER owner_follows_ledger
    AFTER INSERT OR UPDATE OF owner_id ON leads.lead
    FOR EACH ROW EXECUTE FUNCTION leads.refuse_owner_without_ledger();
"""


def upgrade() -> None:
    op.create_table(
        "capture_counter",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("caller_id", sa.Text(), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "caller_id", name=op.f("pk_capture_counter")),
        schema="leads",
    )
    op.create_table(
        "capture_source",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_capture_source")),
        schema="leads",
    )
    op.create_table(
        "owner_counter",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "owner_id", name=op.f("pk_owner_counter")),
        schema="leads",
    )
    op.create_table(
        "settings",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("owner_cap", sa.Integer(), nullable=False),
        sa.Column("daily_claims", sa.Integer(), nullable=False),
        sa.Column("idle_days", sa.Integer(), nullable=False),
        sa.Column("warn_days", sa.Integer(), nullable=False),
        sa.Column("captures_per_minute", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_settings")),
        schema="leads",
    )
    op.create_table(
        "ownership_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("from_owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("to_owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead.id"], name=op.f("fk_ownership_change_lead_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ownership_change")),
        schema="leads",
    )
    op.create_index(
        op.f("ix_leads_ownership_change_lead_id_leads_ownership_change_id"),
        "ownership_change",
        ["lead_id", "id"],
        unique=False,
        schema="leads",
    )
    op.create_index(
        "ix_ownership_change_claims",
        "ownership_change",
        ["tenant_id", "to_owner_id", "create_time"],
        unique=False,
        schema="leads",
        postgresql_where=sa.text("cause = 'claim'"),
    )
    op.add_column("lead", sa.Column("opportunity_id", sa.Uuid(as_uuid=False), nullable=True), schema="leads")
    op.add_column(
        "lead", sa.Column("last_follow_time", sa.DateTime(timezone=True), nullable=True), schema="leads"
    )
    op.add_column(
        "lead", sa.Column("evidence_time", sa.DateTime(timezone=True), nullable=True), schema="leads"
    )
    op.add_column("lead", sa.Column("warned_time", sa.DateTime(timezone=True), nullable=True), schema="leads")
    op.add_column(
        "lead", sa.Column("lock_expire_time", sa.DateTime(timezone=True), nullable=True), schema="leads"
    )
    op.create_index(
        "ix_lead_neglected",
        "lead",
        ["tenant_id", "evidence_time"],
        unique=False,
        schema="leads",
        postgresql_where=sa.text("owner_id IS NOT NULL AND state IN ('assigned', 'following', 'invalid')"),
    )
    op.add_column("opportunity", sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=True), schema="leads")
    op.add_column(
        "opportunity", sa.Column("order_state", sa.Text(), server_default="", nullable=False), schema="leads"
    )
    op.add_column(
        "opportunity",
        sa.Column("order_version", sa.BigInteger(), server_default="0", nullable=False),
        schema="leads",
    )
    op.execute(FIRST_ROWS)
    op.execute(GUARDS)


def downgrade() -> None:
    op.execute("DROP TRIGGER owner_follows_ledger ON leads.lead")
    op.drop_column("opportunity", "order_version", schema="leads")
    op.drop_column("opportunity", "order_state", schema="leads")
    op.drop_column("opportunity", "order_id", schema="leads")
    op.drop_index(
        "ix_lead_neglected",
        table_name="lead",
        schema="leads",
        postgresql_where=sa.text("owner_id IS NOT NULL AND state IN ('assigned', 'following', 'invalid')"),
    )
    op.drop_column("lead", "lock_expire_time", schema="leads")
    op.drop_column("lead", "warned_time", schema="leads")
    op.drop_column("lead", "evidence_time", schema="leads")
    op.drop_column("lead", "last_follow_time", schema="leads")
    op.drop_column("lead", "opportunity_id", schema="leads")
    op.drop_index(
        "ix_ownership_change_claims",
        table_name="ownership_change",
        schema="leads",
        postgresql_where=sa.text("cause = 'claim'"),
    )
    op.drop_index(
        op.f("ix_leads_ownership_change_lead_id_leads_ownership_change_id"),
        table_name="ownership_change",
        schema="leads",
    )
    op.drop_table("ownership_change", schema="leads")
    op.drop_table("settings", schema="leads")
    op.drop_table("owner_counter", schema="leads")
    op.drop_table("capture_source", schema="leads")
    op.drop_table("capture_counter", schema="leads")
    op.execute("DROP FUNCTION leads.refuse_owner_without_ledger, leads.refuse_ledger_change")
