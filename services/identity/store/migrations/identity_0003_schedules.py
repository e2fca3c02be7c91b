"""calendar, shifts, duties and leave."""

import sqlalchemy as sa
from alembic import op

revision = "identity_0003"
down_revision = "identity_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "person",
        sa.Column("schedule_version", sa.BigInteger(), server_default="0", nullable=False),
        schema="identity",
    )
    op.create_table(
        "calendar",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("weekdays", sa.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("start_minute", sa.SmallInteger(), nullable=False),
        sa.Column("end_minute", sa.SmallInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_calendar")),
        schema="identity",
    )
    op.create_table(
        "calendar_day",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("working", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", name=op.f("pk_calendar_day")),
        schema="identity",
    )
    op.create_table(
        "shift",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("start_minute", sa.SmallInteger(), nullable=False),
        sa.Column("end_minute", sa.SmallInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shift")),
        schema="identity",
    )
    op.create_index(
        "uq_shift_name",
        "shift",
        ["tenant_id", "name"],
        unique=True,
        schema="identity",
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "duty",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("shift_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["identity.person.id"], name=op.f("fk_duty_person_id")),
        sa.ForeignKeyConstraint(["shift_id"], ["identity.shift.id"], name=op.f("fk_duty_shift_id")),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", "day", name=op.f("pk_duty")),
        schema="identity",
    )
    op.create_index(
        "ix_duty_shift",
        "duty",
        ["tenant_id", "shift_id", "day"],
        unique=False,
        schema="identity",
    )
    op.create_table(
        "leave",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("creator_id", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancel_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["identity.person.id"], name=op.f("fk_leave_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leave")),
        schema="identity",
    )
    op.create_index(
        "ix_leave_person", "leave", ["tenant_id", "person_id", "end_time"], unique=False, schema="identity"
    )
    op.create_index("ix_leave_time", "leave", ["tenant_id", "end_time"], unique=False, schema="identity")


def downgrade() -> None:
    for table in ("leave", "duty", "shift", "calendar_day", "calendar"):
        op.drop_table(table, schema="identity")
    op.drop_column("person", "schedule_version", schema="identity")
