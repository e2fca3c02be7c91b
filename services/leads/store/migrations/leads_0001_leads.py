"""Leads and their log, conversions, opportunities."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "leads_0001"
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
        schema="leads",
    )
    op.create_table(
        "lead",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("phone_key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("owner_department_path", sa.Text(), nullable=False),
        sa.Column("conversion_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead")),
        sa.UniqueConstraint(
            "tenant_id", "source", "source_key", name=op.f("uq_lead_tenant_id_source_source_key")
        ),
        schema="leads",
    )
    op.create_index(
        "ix_lead_newest", "lead", ["tenant_id", "create_time", "id"], unique=False, schema="leads"
    )
    op.create_index(
        "ix_lead_owner", "lead", ["tenant_id", "owner_id", "create_time"], unique=False, schema="leads"
    )
    op.create_table(
        "opportunity",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("owner_department_path", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opportunity")),
        sa.UniqueConstraint(
            "tenant_id", "customer_id", "name", name=op.f("uq_opportunity_tenant_id_customer_id_name")
        ),
        schema="leads",
    )
    op.create_index(
        "ix_opportunity_newest",
        "opportunity",
        ["tenant_id", "create_time", "id"],
        unique=False,
        schema="leads",
    )
    op.create_index(
        "ix_opportunity_owner",
        "opportunity",
        ["tenant_id", "owner_id", "create_time"],
        unique=False,
        schema="leads",
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
        schema="leads",
    )
    op.create_index(
        op.f("ix_leads_outbox_lane_leads_outbox_shard_leads_outbox_id"),
        "outbox",
        ["lane", "shard", "id"],
        unique=False,
        schema="leads",
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
        schema="leads",
    )
    op.create_table(
        "conversion",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=False),
        sa.Column("opportunity_name", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=2), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("linked", sa.Boolean(), nullable=False),
        sa.Column("contact_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("opportunity_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("refusal", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finish_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead.id"], name=op.f("fk_conversion_lead_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversion")),
        schema="leads",
    )
    op.create_index(
        op.f("ix_leads_conversion_lead_id"), "conversion", ["lead_id"], unique=False, schema="leads"
    )
    op.create_table(
        "lead_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead.id"], name=op.f("fk_lead_change_lead_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead_change")),
        schema="leads",
    )
    op.create_index(
        op.f("ix_leads_lead_change_lead_id_leads_lead_change_id"),
        "lead_change",
        ["lead_id", "id"],
        unique=False,
        schema="leads",
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_leads_lead_change_lead_id_leads_lead_change_id"), table_name="lead_change", schema="leads"
    )
    op.drop_table("lead_change", schema="leads")
    op.drop_index(op.f("ix_leads_conversion_lead_id"), table_name="conversion", schema="leads")
    op.drop_table("conversion", schema="leads")
    op.drop_table("request", schema="leads")
    op.drop_index(
        op.f("ix_leads_outbox_lane_leads_outbox_shard_leads_outbox_id"), table_name="outbox", schema="leads"
    )
    op.drop_table("outbox", schema="leads")
    op.drop_index("ix_opportunity_owner", table_name="opportunity", schema="leads")
    op.drop_index("ix_opportunity_newest", table_name="opportunity", schema="leads")
    op.drop_table("opportunity", schema="leads")
    op.drop_index("ix_lead_owner", table_name="lead", schema="leads")
    op.drop_index("ix_lead_newest", table_name="lead", schema="leads")
    op.drop_table("lead", schema="leads")
    op.drop_table("inbox", schema="leads")
