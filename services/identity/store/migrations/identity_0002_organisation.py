"""heads, posts, order, regions, leavers, epochs by time, append-only audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "identity_0002"
down_revision = "identity_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("department", sa.Column("head_id", sa.Uuid(as_uuid=False)), schema="identity")
    op.add_column(
        "department",
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        schema="identity",
    )
    op.add_column(
        "department",
        sa.Column("posts", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="identity",
    )
    op.add_column(
        "department",
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        schema="identity",
    )
    op.create_index(
        op.f("ix_identity_department_head_id"), "department", ["head_id"], unique=False, schema="identity"
    )
    op.add_column(
        "role", sa.Column("version", sa.BigInteger(), server_default="1", nullable=False), schema="identity"
    )
    # The administrators of tenants that exist get the rights of this release and of those to come.
    op.execute("UPDATE identity.role SET rights = '{*}' WHERE code = 'admin'")
    op.add_column("person", sa.Column("epoch_time", sa.DateTime(timezone=True)), schema="identity")
    op.add_column(
        "person", sa.Column("post", sa.Text(), server_default="", nullable=False), schema="identity"
    )
    op.add_column(
        "person",
        sa.Column("region_ids", sa.ARRAY(sa.Uuid(as_uuid=False)), server_default="{}", nullable=False),
        schema="identity",
    )
    op.add_column("person", sa.Column("leave_time", sa.DateTime(timezone=True)), schema="identity")
    op.create_index(
        op.f("ix_identity_person_epoch_time"), "person", ["epoch_time"], unique=False, schema="identity"
    )
    op.alter_column("audit", "subject_id", nullable=True, schema="identity")
    op.add_column(
        "audit",
        sa.Column("details", postgresql.JSONB(), server_default="{}", nullable=False),
        schema="identity",
    )
    for column in ("subject_id", "actor_id"):
        op.create_index(
            f"ix_audit_{column}",
            "audit",
            ["tenant_id", column, "create_time"],
            unique=False,
            schema="identity",
        )
    op.execute(
        """
        CREATE FUNCTION identity.audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit is append-only';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.audit
        FOR EACH STATEMENT EXECUTE FUNCTION identity.audit_is_append_only()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER append_only ON identity.audit")
    op.execute("DROP FUNCTION identity.audit_is_append_only()")
    for column in ("subject_id", "actor_id"):
        op.drop_index(
            f"ix_audit_{column}",
            "audit",
            schema="identity",
        )
    op.drop_column("audit", "details", schema="identity")
    for column in ("leave_time", "region_ids", "post", "epoch_time"):
        op.drop_column("person", column, schema="identity")
    op.drop_column("role", "version", schema="identity")
    for column in ("version", "posts", "position", "head_id"):
        op.drop_column("department", column, schema="identity")
