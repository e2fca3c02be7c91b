"""Orders to the PBX, and numbers that are not to be called."""

import sqlalchemy as sa
from alembic import op

revision = "telephony_0006"
down_revision = "telephony_0005"
branch_labels = None
depends_on = None

SCHEMA = "telephony"
UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "pbx_order",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("pbx", sa.Text(), nullable=False, server_default=""),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("extension", sa.Text(), nullable=False, server_default=""),
        sa.Column("linked_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False, server_default=""),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("send_time", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pbx_order")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_pbx_order_open",
        "pbx_order",
        ["create_time"],
        schema=SCHEMA,
        postgresql_where=sa.text("state IN ('queued', 'sending')"),
    )
    op.create_table(
        "do_not_call",
        sa.Column("tenant_id", UUID, nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("person_id", UUID, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "number", name=op.f("pk_do_not_call")),
        schema=SCHEMA,
    )
