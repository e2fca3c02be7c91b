"""Which rows a person sees, by the scope of the roles, and who sees every number: one rule for every service.

self: own rows. subordinates: those of the departments that the person heads, and below. department_only: those of the
own department. department: and below. regions: those of the departments named as the person's regions, and below.
all: every row. Own rows are always seen. A scope that is not known, or a department without a path, adds nothing.
Whoever asks is noted: a method that declares REACH_SCOPE gives no answer without.
"""

from sqlalchemy import ColumnElement, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from services.chassis.declarations import note_scope_asked
from services.chassis.tokens import Caller

# A column of either of SQLAlchemy's ways to write one.
IdColumn = ColumnElement[str] | InstrumentedAttribute[str] | InstrumentedAttribute[str | None]
PathColumn = ColumnElement[str] | InstrumentedAttribute[str]


def sees_all(caller: Caller) -> bool:
    """Tell whether somebody sees every row of the tenant."""
    note_scope_asked()
    return caller.scope == "all"


def sees_only_own(caller: Caller) -> bool:
    """Tell whether somebody sees no row but the own ones: such a query needs no look at departments."""
    return not (sees_all(caller) or _only_own_department(caller) or _subtrees(caller))


def sees_every_number(caller: Caller) -> bool:
    """Tell whether somebody sees the telephone numbers of all records that the person sees."""
    return "numbers.view_all" in caller.rights


def visible(caller: Caller, owner_id: IdColumn, department_path: PathColumn) -> ColumnElement[bool]:
    """Return the condition under which a person sees a row with this owner and this path of the owner's department."""
    if sees_all(caller):
        return true()
    return or_(owner_id == caller.person_id, *_in_departments(caller, department_path))


def covers(caller: Caller, owner_id: str | None, department_path: str) -> bool:
    """Tell whether a person sees a row with this owner and this path: `visible` for a row at hand."""
    if sees_all(caller) or (owner_id is not None and owner_id == caller.person_id):
        return True
    if _only_own_department(caller) and department_path == caller.department_path:
        return True
    return any(department_path.startswith(path) for path in _subtrees(caller))


def _in_departments(caller: Caller, department_path: PathColumn) -> list[ColumnElement[bool]]:
    conditions = [department_path.startswith(path, autoescape=True) for path in _subtrees(caller)]
    if _only_own_department(caller):
        conditions.append(department_path == caller.department_path)
    return conditions


def _only_own_department(caller: Caller) -> bool:
    return caller.scope == "department_only" and bool(caller.department_path)


def _subtrees(caller: Caller) -> list[str]:
    own = [caller.department_path] if caller.scope == "department" else []
    return [path for path in (*own, *caller.paths) if path]
