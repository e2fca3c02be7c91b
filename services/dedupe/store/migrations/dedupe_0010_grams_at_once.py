"""The grams that a statement brings go into their index at once, each gram one time for all of its records.

Put in one by one, the names of an import's batch walk down the index for each of their thousands of grams. With
`fastupdate` they wait in a list until it is emptied; a look-up reads it too. Each statement empties it, so that it is
as good as always empty: every look-up costs the same.
"""

from alembic import op

revision = "dedupe_0010"
down_revision = "dedupe_0009"
branch_labels = None
depends_on = None

# As its owner, whom alone PostgreSQL lets empty the list; nothing to empty while the index is made anew.
PUT_IN = """
CREATE FUNCTION dedupe.put_grams_in() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM gin_clean_pending_list(to_regclass('dedupe.ix_match_record_grams'));
    RETURN NULL;
END $$;

CREATE TRIGGER grams_go_in
    AFTER INSERT OR UPDATE ON dedupe.match_record
    FOR EACH STATEMENT EXECUTE FUNCTION dedupe.put_grams_in();
"""


def upgrade() -> None:
    op.execute(PUT_IN)
    op.execute("ALTER INDEX dedupe.ix_match_record_grams SET (fastupdate = on)")


def downgrade() -> None:
    op.execute("ALTER INDEX dedupe.ix_match_record_grams SET (fastupdate = off)")
    op.execute("SELECT gin_clean_pending_list('dedupe.ix_match_record_grams')")
    op.execute("DROP TRIGGER grams_go_in ON dedupe.match_record")
    op.execute("DROP FUNCTION dedupe.put_grams_in")
