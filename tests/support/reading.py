"""How many rows something reads: of a tenant that came since statistics were made the planner knows none.

Any index that begins with the tenant seems as good to it then, and the wrong one reads all that the tenant has.
"""

from collections.abc import Callable

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

# A statement that ran so often has a plan that is kept for whatever its parameters will be.
OFTEN = 12


def rows_read(session: Session | Connection, work: Callable[[], object], *tables: str) -> int:
    """Return how many rows of these tables, "schema.table", `work` reads at most, however often it runs."""
    read = text(
        "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables"
        " WHERE relid = ANY (CAST(:tables AS regclass[]))"
    )

    def so_far() -> int:
        return int(session.scalar(read, {"tables": list(tables)}) or 0)

    # As over a large table: one of a test is so small that to read it whole costs no more.
    session.execute(text("SET LOCAL enable_seqscan = off"))
    counts = list[int]()
    for _ in range(OFTEN):
        before = so_far()
        work()
        counts.append(so_far() - before)
    return max(counts)
