"""Pieces of names stand beside the customers, so that a change of the owner writes no entry of their index.

The column that they are made in stays, and the database copies it: whatever writes a customer, a process of the
release before too, is found.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "customers_0009"
down_revision = "customers_0008"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)

# New customers by the statement, for an import writes hundreds in one; a new name by the row, and seldom.
COPY_PIECES = """
CREATE FUNCTION customers.copy_pieces_of_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO customers.customer_search (tenant_id, customer_id, pieces)
    SELECT tenant_id, customer_id, pieces FROM added;
    RETURN NULL;
END $$;

CREATE TRIGGER search_finds_new
    AFTER INSERT ON customers.customer REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION customers.copy_pieces_of_new();

CREATE FUNCTION customers.copy_pieces() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE customers.customer_search SET pieces = NEW.pieces
    WHERE tenant_id = NEW.tenant_id AND customer_id = NEW.customer_id;
    RETURN NULL;
END $$;

CREATE TRIGGER search_finds_renamed
    AFTER UPDATE OF pieces ON customers.customer
    FOR EACH ROW WHEN (NEW.pieces IS DISTINCT FROM OLD.pieces) EXECUTE FUNCTION customers.copy_pieces();
"""


def upgrade() -> None:
    op.create_table(
        "customer_search",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("customer_id", ID, nullable=False),
        sa.Column("pieces", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "customer_id", name=op.f("pk_customer_search")),
        schema="customers",
    )
    # Before the copy: until the commit nobody writes a customer that it would not see.
    op.execute(COPY_PIECES)
    op.execute(
        "INSERT INTO customers.customer_search SELECT tenant_id, customer_id, pieces FROM customers.customer"
    )
    op.create_index(
        "ix_customer_search_pieces",
        "customer_search",
        ["pieces"],
        schema="customers",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_foreign_key(
        op.f("fk_customer_search_tenant_id_customer_id"),
        "customer_search",
        "customer",
        ["tenant_id", "customer_id"],
        ["tenant_id", "customer_id"],
        source_schema="customers",
        referent_schema="customers",
        ondelete="CASCADE",
    )
    op.drop_index("ix_customer_pieces", "customer", schema="customers")


def downgrade() -> None:
    op.create_index(
        "ix_customer_pieces",
        "customer",
        ["pieces"],
        schema="customers",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.execute("DROP TRIGGER search_finds_renamed ON customers.customer")
    op.execute("DROP TRIGGER search_finds_new ON customers.customer")
    op.execute("DROP FUNCTION customers.copy_pieces, customers.copy_pieces_of_new")
    op.drop_table("customer_search", schema="customers")
