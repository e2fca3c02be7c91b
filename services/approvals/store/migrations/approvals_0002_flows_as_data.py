"""Flows as data with their versions, hand-overs of a step, time limits with escalation."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "approvals_0002"
down_revision = "approvals_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "flow_version",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("steps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_type", "version", name=op.f("pk_flow_version")),
        schema="approvals",
    )
    op.create_table(
        "delegation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("approval_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=False),
        sa.Column("from_person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("to_person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id", "step_index"],
            ["approvals.step.approval_id", "approvals.step.step_index"],
            name=op.f("fk_delegation_approval_id_step_index"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delegation")),
        schema="approvals",
    )
    op.create_index(
        "ix_delegation_step",
        "delegation",
        ["approval_id", "step_index", "id"],
        unique=False,
        schema="approvals",
    )
    op.add_column(
        "step",
        sa.Column("roles", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="approvals",
    )
    op.add_column(
        "step",
        sa.Column(
            "person_ids", postgresql.ARRAY(sa.Uuid(as_uuid=False)), server_default="{}", nullable=False
        ),
        schema="approvals",
    )
    op.add_column(
        "step",
        sa.Column("amount_below", sa.Numeric(precision=14, scale=2), nullable=True),
        schema="approvals",
    )
    op.add_column(
        "step",
        sa.Column("time_limit_s", sa.Integer(), server_default="259200", nullable=False),
        schema="approvals",
    )
    op.add_column(
        "step", sa.Column("escalate_role", sa.Text(), server_default="", nullable=False), schema="approvals"
    )
    op.add_column(
        "step",
        sa.Column("escalated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        schema="approvals",
    )
    op.execute("UPDATE approvals.step SET roles = ARRAY[role] WHERE role <> ''")
    op.execute(
        "INSERT INTO approvals.flow_version (tenant_id, subject_type, version, steps, actor_id, create_time)"
        " SELECT tenant_id, subject_type, version, steps, NULL, now() FROM approvals.flow"
    )


def downgrade() -> None:
    op.drop_column("step", "escalated", schema="approvals")
    op.drop_column("step", "escalate_role", schema="approvals")
    op.drop_column("step", "time_limit_s", schema="approvals")
    op.drop_column("step", "amount_below", schema="approvals")
    op.drop_column("step", "person_ids", schema="approvals")
    op.drop_column("step", "roles", schema="approvals")
    op.drop_index("ix_delegation_step", table_name="delegation", schema="approvals")
    op.drop_table("delegation", schema="approvals")
    op.drop_table("flow_version", schema="approvals")
