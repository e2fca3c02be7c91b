"""Each LIMIT stands in its statement as a number, so that PostgreSQL plans for it.

What a connection runs often gets one plan for whatever the parameters will be. Of a LIMIT among them PostgreSQL then
assumes a tenth of all rows (`preprocess_limit` in its planner), and sorts all that an index would give the first of.
"""

from typing import Any, ClassVar

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg, PGDialect_psycopg


class _EachTime(PGCompiler_psycopg):
    """The number is put in when the statement runs: what was compiled serves any."""

    when: ClassVar[str] = "literal_execute"

    def limit_clause(self, select: Any, **options: Any) -> str:
        clause: str = super().limit_clause(select, **(options | {self.when: True}))  # type: ignore[no-untyped-call]  # SQLAlchemy's own
        return clause


class _Once(_EachTime):
    when = "literal_binds"


class FixedDialect(PGDialect_psycopg):
    """The dialect of what is compiled once, without an engine, and has the same limits each time."""

    statement_compiler = _Once


def say_limits(engine: Engine) -> None:
    """Let each statement of an engine say its limits."""
    engine.dialect.statement_compiler = _EachTime
