"""Stages of opportunities with their log, and what is known of a sale."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "leads_0004"
down_revision = "leads_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stages",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("stages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_stages")),
        schema="leads",
    )
    op.create_table(
        "opportunity_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("opportunity_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("from_stage_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("to_stage_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["opportunity_id"], ["leads.opportunity.id"], name=op.f("fk_opportunity_change_opportunity_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opportunity_change")),
        schema="leads",
    )
    op.create_index(
        op.f("ix_leads_opportunity_change_opportunity_id_leads_opportunity_change_id"),
        "opportunity_change",
        ["opportunity_id", "id"],
        unique=False,
        schema="leads",
    )
    op.add_column("opportunity", sa.Column("stage_id", sa.Uuid(as_uuid=False), nullable=True), schema="leads")
    op.add_column(
        "opportunity", sa.Column("stage_time", sa.DateTime(timezone=True), nullable=True), schema="leads"
    )
    op.add_column(
        "opportunity", sa.Column("close_time", sa.DateTime(timezone=True), nullable=True), schema="leads"
    )
    op.add_column("opportunity", sa.Column("expected_close_date", sa.Date(), nullable=True), schema="leads")
    op.add_column(
        "opportunity", sa.Column("needs", sa.Text(), server_default="", nullable=False), schema="leads"
    )
    op.add_column(
        "opportunity", sa.Column("competitors", sa.Text(), server_default="", nullable=False), schema="leads"
    )
    op.add_column(
        "opportunity", sa.Column("lose_reason", sa.Text(), server_default="", nullable=False), schema="leads"
    )


def downgrade() -> None:
    op.drop_column("opportunity", "lose_reason", schema="leads")
    op.drop_column("opportunity", "competitors", schema="leads")
    op.drop_column("opportunity", "needs", schema="leads")
    op.drop_column("opportunity", "expected_close_date", schema="leads")
    op.drop_column("opportunity", "close_time", schema="leads")
    op.drop_column("opportunity", "stage_time", schema="leads")
    op.drop_column("opportunity", "stage_id", schema="leads")
    op.drop_index(
        op.f("ix_leads_opportunity_change_opportunity_id_leads_opportunity_change_id"),
        table_name="opportunity_change",
        schema="leads",
    )
    op.drop_table("opportunity_change", schema="leads")
    op.drop_table("stages", schema="leads")
