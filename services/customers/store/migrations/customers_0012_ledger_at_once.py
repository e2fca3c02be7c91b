"""New customers are compared with the ledger together at the end of their statement: an import writes many in one.

Row by row, as changes of owners still are, took a sixth of that statement.
"""

from alembic import op

revision = "customers_0012"
down_revision = "customers_0011"
branch_labels = None
depends_on = None

LOOK_AT_NEW = """
CREATE FUNCTION customers.refuse_new_owner_without_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong uuid;
BEGIN
    SELECT customer_id INTO wrong FROM added
    WHERE owner_id IS DISTINCT FROM (
        SELECT to_owner_id FROM customers.ownership_change AS change
        WHERE change.tenant_id = added.tenant_id AND change.customer_id = added.customer_id
        ORDER BY sequence DESC LIMIT 1
    )
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the owner of customer % is not the one that the ledger names', wrong
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER new_owner_follows_ledger
    AFTER INSERT ON customers.customer REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_new_owner_without_ledger();
"""
LOOK_AT_EACH = """
CREATE OR REPLACE TRIGGER owner_follows_ledger
    AFTER {when} ON customers.customer
    FOR EACH ROW EXECUTE FUNCTION customers.refuse_owner_without_ledger();
"""


def upgrade() -> None:
    op.execute(LOOK_AT_NEW)
    op.execute(LOOK_AT_EACH.format(when="UPDATE OF owner_id"))


def downgrade() -> None:
    op.execute(LOOK_AT_EACH.format(when="INSERT OR UPDATE OF owner_id"))
    op.execute("DROP TRIGGER new_owner_follows_ledger ON customers.customer")
    op.execute("DROP FUNCTION customers.refuse_new_owner_without_ledger")
