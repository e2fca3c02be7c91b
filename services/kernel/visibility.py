"""Which rows a person sees: own ones, those of the department and below, or all, by the scope of the roles."""

from sqlalchemy import ColumnElement, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from services.chassis.tokens import Caller


def visible(
    caller: Caller,
    owner_id: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
    department_path: InstrumentedAttribute[str],
) -> ColumnElement[bool]:
    """Return the condition under which a person sees a row with this owner and this path of the owner's department.

    A scope that is not known, or a department without a path, gives no more than one's own rows.
    """
    own = owner_id == caller.person_id
    if caller.scope == "all":
        return true()
    if caller.scope == "department" and caller.department_path:
        return or_(own, department_path.startswith(caller.department_path, autoescape=True))
    return own
