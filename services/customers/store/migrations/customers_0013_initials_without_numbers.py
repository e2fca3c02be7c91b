"""Initials hold no telephone number: lists are sorted by them, and page tokens tell where a page ended.

Only names with a number in them are touched; the pieces under which they are found stay, each find is looked at anew.
"""

from alembic import op

revision = "customers_0013"
down_revision = "customers_0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # As `hide_numbers` leaves them: the first three digits and the last two.
    op.execute(
        "UPDATE customers.customer"
        " SET initials = regexp_replace(initials, '([0-9]{3})[0-9]{2,}([0-9]{2})', '\\1\\2', 'g')"
        " WHERE initials ~ '[0-9]{7}'"
    )


def downgrade() -> None:
    """A name's initials are written with the name; what was cut off is found in it."""
