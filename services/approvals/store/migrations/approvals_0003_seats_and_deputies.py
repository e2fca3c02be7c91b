"""Steps that all have to pass, each with a seat; deputies; rules of a whole flow; rounds by subject."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "approvals_0003"
down_revision = "approvals_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("flow", "flow_version", "approval"):
        op.add_column(
            table,
            sa.Column("rules", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
            schema="approvals",
        )
    op.add_column(
        "step", sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=True), schema="approvals"
    )
    op.add_column(
        "step",
        sa.Column("seat_ids", postgresql.ARRAY(sa.Uuid(as_uuid=False)), server_default="{}", nullable=False),
        schema="approvals",
    )
    op.add_column(
        "step", sa.Column("auto_reason", sa.Text(), server_default="", nullable=False), schema="approvals"
    )
    # What a release before has auto-approved was for its condition.
    op.execute("UPDATE approvals.step SET auto_reason = 'condition' WHERE state = 'auto_approved'")
    op.add_column(
        "decision", sa.Column("seat", sa.Text(), server_default="", nullable=False), schema="approvals"
    )
    op.add_column(
        "decision", sa.Column("for_person_id", sa.Uuid(as_uuid=False), nullable=True), schema="approvals"
    )
    op.drop_constraint(op.f("pk_decision"), "decision", schema="approvals")
    op.create_primary_key(
        op.f("pk_decision"), "decision", ["approval_id", "step_index", "seat"], schema="approvals"
    )
    op.create_index(
        "ix_approval_subject",
        "approval",
        ["tenant_id", "subject_type", "subject_id", "create_time"],
        schema="approvals",
    )
    op.create_table(
        "deputy",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("deputy_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("begin_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deputy")),
        schema="approvals",
    )
    op.create_index("ix_deputy_person", "deputy", ["tenant_id", "person_id", "end_time"], schema="approvals")
    op.create_index("ix_deputy_deputy", "deputy", ["tenant_id", "deputy_id", "end_time"], schema="approvals")


def downgrade() -> None:
    op.drop_table("deputy", schema="approvals")
    op.drop_index("ix_approval_subject", table_name="approval", schema="approvals")
    op.drop_constraint(op.f("pk_decision"), "decision", schema="approvals")
    # A release before knows one decision for each step: the last.
    op.execute(
        "DELETE FROM approvals.decision d USING approvals.decision e WHERE d.approval_id = e.approval_id"
        " AND d.step_index = e.step_index AND (d.create_time, d.seat) < (e.create_time, e.seat)"
    )
    op.create_primary_key(op.f("pk_decision"), "decision", ["approval_id", "step_index"], schema="approvals")
    op.drop_column("decision", "for_person_id", schema="approvals")
    op.drop_column("decision", "seat", schema="approvals")
    op.drop_column("step", "auto_reason", schema="approvals")
    op.drop_column("step", "seat_ids", schema="approvals")
    op.drop_column("step", "spec", schema="approvals")
    for table in ("approval", "flow_version", "flow"):
        op.drop_column(table, "rules", schema="approvals")
