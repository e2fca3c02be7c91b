"""The two tables of `services.chassis.moves`, for a migration of each service that has them."""

import sqlalchemy as sa
from alembic import op

ID = sa.Uuid(as_uuid=False)


def create_tables(schema: str) -> None:
    """Create them in a service's schema."""
    op.create_table(
        "moved_parent",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("move_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=False),
        sa.Column("to_parent_id", ID, nullable=False),
        sa.Column("taken_back", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "move_id", name=op.f("pk_moved_parent")),
        schema=schema,
    )
    op.create_index("ix_moved_parent_parent", "moved_parent", ["tenant_id", "parent_id"], schema=schema)
    op.create_table(
        "moved_row",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("move_id", ID, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("row_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_moved_row")),
        schema=schema,
    )
    for name, columns in (("move", ["tenant_id", "move_id"]), ("row", ["tenant_id", "row_id"])):
        op.create_index(f"ix_moved_row_{name}", "moved_row", columns, schema=schema)


def drop_tables(schema: str) -> None:
    """Drop them."""
    op.drop_table("moved_row", schema=schema)
    op.drop_table("moved_parent", schema=schema)
