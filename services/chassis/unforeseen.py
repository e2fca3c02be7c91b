"""What PostgreSQL's planner makes of a tenant: one of those in its statistics, whichever.

Of a tenant that came since they were made it would believe that it has no rows. Any index that begins with the tenant
seems as good then, and a look-up by an id, a name or a number may go by one that reads all that the tenant has, until
the next ANALYZE. So a query asks for a tenant that the planner does not foresee: the value stands in a subquery of its
own. It then expects as many rows as the tenants of its statistics have on average, and the other conditions decide.
"""

from typing import Any

from sqlalchemy import BinaryExpression, BindParameter, Column, ColumnElement, Table, Uuid
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.operators import OperatorType, eq

# Every table with a tenant has it in a column of this name.
COLUMN = "tenant_id"


class Unforeseen(Grouping[str]):
    """A parameter whose value plays no part in the plan."""

    inherit_cache = True


@compiles(Unforeseen)
def _render(element: Unforeseen, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"(SELECT {compiler.process(element.element, **kwargs)})"


class TenantId(Uuid[str]):
    """The id of a tenant, compared with a value that the planner does not foresee."""

    cache_ok = True

    class Comparator(Uuid.Comparator[str]):
        """Compare with a parameter as the module says, with anything else as ever."""

        def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
            """Return the expression."""
            result = super().operate(op, *other, **kwargs)
            if op is eq and isinstance(result, BinaryExpression) and isinstance(result.right, BindParameter):
                result.right = Unforeseen(result.right)
            return result

    comparator_factory = Comparator

    def __init__(self) -> None:
        super().__init__(as_uuid=False)


def make_unforeseen(column: Column[Any], table: object) -> None:
    """Give the tenant of a table this type."""
    if column.name == COLUMN and isinstance(table, Table):
        column.type = TenantId()
