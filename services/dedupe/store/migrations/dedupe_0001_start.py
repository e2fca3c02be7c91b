"""Rules, reservations and held keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "dedupe_0001"
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
        schema="dedupe",
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
        schema="dedupe",
    )
    op.create_index(
        op.f("ix_dedupe_outbox_lane_dedupe_outbox_shard_dedupe_outbox_id"),
        "outbox",
        ["lane", "shard", "id"],
        unique=False,
        schema="dedupe",
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
        schema="dedupe",
    )
    op.create_table(
        "reservation",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("reservation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("holder_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("holder_name", sa.Text(), nullable=False),
        sa.Column("settle_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "reservation_id", name=op.f("pk_reservation")),
        schema="dedupe",
    )
    op.create_index(
        op.f("ix_dedupe_reservation_tenant_id_dedupe_reservation_settle_time"),
        "reservation",
        ["tenant_id", "settle_time"],
        unique=False,
        schema="dedupe",
    )
    op.create_index(
        "ix_reservation_unconfirmed",
        "reservation",
        ["tenant_id", "settle_time"],
        unique=False,
        schema="dedupe",
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_table(
        "rule",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("rule_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "field", name=op.f("pk_rule")),
        schema="dedupe",
    )
    op.create_table(
        "held_key",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("subject_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("reservation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reservation_id"],
            ["dedupe.reservation.tenant_id", "dedupe.reservation.reservation_id"],
            name=op.f("fk_held_key_tenant_id_reservation_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "field", "digest", name=op.f("pk_held_key")),
        schema="dedupe",
    )
    op.create_index(
        op.f("ix_dedupe_held_key_tenant_id_dedupe_held_key_reservation_id"),
        "held_key",
        ["tenant_id", "reservation_id"],
        unique=False,
        schema="dedupe",
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_dedupe_held_key_tenant_id_dedupe_held_key_reservation_id"),
        table_name="held_key",
        schema="dedupe",
    )
    op.drop_table("held_key", schema="dedupe")
    op.drop_table("rule", schema="dedupe")
    op.drop_index(
        "ix_reservation_unconfirmed",
        table_name="reservation",
        schema="dedupe",
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.drop_index(
        op.f("ix_dedupe_reservation_tenant_id_dedupe_reservation_settle_time"),
        table_name="reservation",
        schema="dedupe",
    )
    op.drop_table("reservation", schema="dedupe")
    op.drop_table("request", schema="dedupe")
    op.drop_index(
        op.f("ix_dedupe_outbox_lane_dedupe_outbox_shard_dedupe_outbox_id"),
        table_name="outbox",
        schema="dedupe",
    )
    op.drop_table("outbox", schema="dedupe")
    op.drop_table("inbox", schema="dedupe")
