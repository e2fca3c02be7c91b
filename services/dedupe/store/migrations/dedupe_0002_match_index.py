"""Match index, and rules with what follows from them."""

import sqlalchemy as sa
from alembic import op

revision = "dedupe_0002"
down_revision = "dedupe_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backfill",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("after", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "field", name=op.f("pk_backfill")),
        schema="dedupe",
    )
    op.create_table(
        "clash",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("holder_subject_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "kind", "field", "subject_id", "holder_subject_id", name=op.f("pk_clash")
        ),
        schema="dedupe",
    )
    op.create_table(
        "gram_count",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("gram", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "gram", name=op.f("pk_gram_count")),
        schema="dedupe",
    )
    op.create_table(
        "gram_counting",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("count_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_gram_counting")),
        schema="dedupe",
    )
    op.create_table(
        "match_record",
        sa.Column("tenant_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("subject_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("reservation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("core", sa.Text(), nullable=False),
        sa.Column("sound", sa.Text(), nullable=False),
        sa.Column("phones", sa.ARRAY(sa.LargeBinary()), nullable=False),
        sa.Column("credit_code", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("grams", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("owner_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("holder_name", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", name=op.f("pk_match_record")),
        schema="dedupe",
    )
    op.create_index(
        "ix_match_record_customer",
        "match_record",
        ["tenant_id", "customer_id"],
        unique=False,
        schema="dedupe",
    )
    op.create_index(
        "ix_match_record_grams",
        "match_record",
        ["grams"],
        unique=False,
        schema="dedupe",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_index(
        "ix_match_record_newest", "match_record", ["tenant_id", "create_time"], unique=False, schema="dedupe"
    )
    op.create_index(
        "ix_match_record_reservation",
        "match_record",
        ["tenant_id", "reservation_id"],
        unique=False,
        schema="dedupe",
    )
    op.add_column(
        "rule", sa.Column("verdict", sa.Text(), server_default="block", nullable=False), schema="dedupe"
    )
    op.add_column("rule", sa.Column("threshold", sa.Double(), nullable=True), schema="dedupe")
    op.add_column(
        "rule",
        sa.Column("entrances", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="dedupe",
    )


def downgrade() -> None:
    op.drop_column("rule", "entrances", schema="dedupe")
    op.drop_column("rule", "threshold", schema="dedupe")
    op.drop_column("rule", "verdict", schema="dedupe")
    op.drop_index("ix_match_record_reservation", table_name="match_record", schema="dedupe")
    op.drop_index("ix_match_record_newest", table_name="match_record", schema="dedupe")
    op.drop_index(
        "ix_match_record_grams",
        table_name="match_record",
        schema="dedupe",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.drop_index("ix_match_record_customer", table_name="match_record", schema="dedupe")
    op.drop_table("match_record", schema="dedupe")
    op.drop_table("gram_counting", schema="dedupe")
    op.drop_table("gram_count", schema="dedupe")
    op.drop_table("clash", schema="dedupe")
    op.drop_table("backfill", schema="dedupe")
