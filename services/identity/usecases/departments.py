"""The organisation's tree: departments with heads, posts and order.

Whoever changes the tree locks all of it first, then the people whom it concerns: moves cannot cross, and whoever moves
a person meanwhile waits.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Forbidden, InvalidInput, RuleViolation, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.identity.domain.people import MOST_POSTS, parse_name
from services.identity.store import queries
from services.identity.store.tables import Department
from services.identity.usecases import audit
from services.identity.usecases.people import check_mask, check_version, raise_epoch, saved
from services.kernel.visibility import covers

# What an update may set.
UPDATABLE = ("name", "parent_id", "head_id", "position", "posts")


@dataclass(frozen=True)
class DepartmentInput:
    """A department as somebody filled in the form; nothing is checked yet. version: the one that was read."""

    department_id: str
    parent_id: str
    name: str
    head_id: str
    position: int
    posts: tuple[str, ...]
    version: int


def create_department(tx: Transaction, caller: Caller, given: DepartmentInput) -> Department:
    """Add a department below another one.

    Raises InvalidInput for a field, AlreadyExists DEPARTMENT_EXISTS, Forbidden OUT_OF_SCOPE.
    """
    tree = queries.lock_departments(tx)
    parent = tree.get(parse_id(given.parent_id, "department.parent_id"))
    if parent is None:
        raise _unknown("department.parent_id")
    check_reach(caller, parent.path)
    department = add_department(tx, parse_name(given.name, "department.name"), parent)
    department.position = given.position
    department.posts = _posts(given.posts)
    _set_head(tx, department, given.head_id)
    audit.record(tx, "department_created", department.id, details={"name": department.name})
    tx.session.flush()
    return department


def update_department(
    tx: Transaction, caller: Caller, given: DepartmentInput, fields: Collection[str]
) -> Department:
    """Set the named fields; a move takes everything below along and changes what its people see at once.

    Raises InvalidInput for a field, NotFound, Conflict VERSION_CHANGED, AlreadyExists DEPARTMENT_EXISTS, Forbidden
    OUT_OF_SCOPE, RuleViolation DEPARTMENT_ROOT, DEPARTMENT_LOOP or POST_HELD.
    """
    check_mask(fields, UPDATABLE)
    tree = queries.lock_departments(tx)
    department = _of(tree, given.department_id)
    check_reach(caller, department.path)
    check_version(department.version, given.version)
    if "name" in fields:
        department.name = parse_name(given.name, "department.name")
    if "position" in fields:
        department.position = given.position
    if "posts" in fields:
        posts = _posts(given.posts)
        held = sorted(queries.posts_held(tx, department.id) - set(posts))
        if held:
            raise RuleViolation(
                "POST_HELD",
                "岗位“{posts}”仍有员工，不能删除",
                "Somebody still holds the post {posts}",
                posts=", ".join(held),
            )
        department.posts = posts
    if "head_id" in fields:
        _set_head(tx, department, given.head_id)
    with queries.unique(_refusals(department.name)):
        if "parent_id" in fields and given.parent_id != (department.parent_id or ""):
            _move(tx, caller, tree, department, given.parent_id)
        department.version += 1
        tx.session.flush()
    audit.record(
        tx,
        "department_changed",
        department.id,
        details={"name": department.name, "fields": ", ".join(sorted(fields))},
    )
    return department


def delete_department(tx: Transaction, caller: Caller, department_id: str) -> None:
    """Remove a department without people and departments in it; who left goes to the one above.

    Raises NotFound, Forbidden OUT_OF_SCOPE, RuleViolation DEPARTMENT_ROOT or DEPARTMENT_NOT_EMPTY.
    """
    tree = queries.lock_departments(tx)
    department = _of(tree, department_id)
    check_reach(caller, department.path)
    if department.parent_id is None:
        raise _root()
    concerned = queries.lock_people_of(tx, [department.id])
    inside = [person for person in concerned if person.department_id == department.id]
    children = [item for item in tree.values() if item.parent_id == department.id]
    if children or any(person.leave_time is None for person in inside):
        raise RuleViolation(
            "DEPARTMENT_NOT_EMPTY",
            "部门“{name}”下还有员工或下级部门，不能删除",
            "The department {name} still has people or departments in it",
            name=department.name,
        )
    for person in concerned:
        if person.department_id == department.id:
            person.department_id = department.parent_id
        person.region_ids = [region for region in person.region_ids if region != department.id]
        raise_epoch(tx, person)
        person.version += 1
    saved(tx, concerned)
    tx.session.delete(department)
    audit.record(tx, "department_deleted", department.id, details={"name": department.name})


def add_department(tx: Transaction, name: str, parent: Department | None) -> Department:
    """Write a new department below another one, or the root; raises AlreadyExists DEPARTMENT_EXISTS."""
    department_id = new_id()
    department = Department(
        id=department_id,
        tenant_id=tx.tenant.id,
        parent_id=parent.id if parent else None,
        name=name,
        path=f"{parent.path if parent else ''}{department_id}/",
        position=0,
        posts=[],
        version=1,
    )
    with queries.unique(_refusals(name)):
        tx.session.add(department)
        tx.session.flush()
    return department


def check_reach(caller: Caller, path: str) -> None:
    """Raise Forbidden OUT_OF_SCOPE for a department whose records a person does not see."""
    if not covers(caller, None, path):
        raise Forbidden(
            "OUT_OF_SCOPE", "该部门不在您的数据范围内", "This department is beyond what you may see"
        )


def _move(
    tx: Transaction, caller: Caller, tree: Mapping[str, Department], department: Department, parent_id: str
) -> None:
    if department.parent_id is None:
        raise _root()
    parent = tree.get(parse_id(parent_id, "department.parent_id"))
    if parent is None:
        raise _unknown("department.parent_id")
    check_reach(caller, parent.path)
    old = department.path
    if parent.path.startswith(old):
        raise RuleViolation(
            "DEPARTMENT_LOOP", "不能移动到自身或其下级部门", "A department cannot move below itself"
        )
    moved = [item for item in tree.values() if item.path.startswith(old)]
    department.parent_id = parent.id
    for item in moved:
        item.path = f"{parent.path}{department.id}/{item.path.removeprefix(old)}"
        if item is not department:
            item.version += 1
    tx.session.flush()
    concerned = queries.lock_people_of(
        tx, [item.id for item in moved], [item.head_id for item in moved if item.head_id]
    )
    for person in concerned:
        raise_epoch(tx, person)
        person.version += 1
    saved(tx, concerned)


def _set_head(tx: Transaction, department: Department, head_id: str) -> None:
    before, after = department.head_id, parse_id(head_id, "department.head_id") if head_id else None
    if before == after:
        return
    concerned = queries.lock_people_of(tx, [], [each for each in (before, after) if each])
    if after and not any(person.id == after and person.active for person in concerned):
        raise InvalidInput(
            "department.head_id", "HEAD_UNKNOWN", "负责人必须是在职员工", "The head must be an active person"
        )
    department.head_id = after
    for person in concerned:
        raise_epoch(tx, person)
        person.version += 1
    saved(tx, concerned)


def _posts(posts: Collection[str]) -> list[str]:
    names = list(dict.fromkeys(parse_name(post, "department.posts") for post in posts))
    if len(names) > MOST_POSTS:
        raise InvalidInput(
            "department.posts",
            "TOO_MANY_POSTS",
            "一个部门最多{most}个岗位",
            "A department has at most {most} posts",
            most=MOST_POSTS,
        )
    return names


def _of(tree: Mapping[str, Department], department_id: str) -> Department:
    found = tree.get(parse_id(department_id, "department.department_id"))
    if found is None:
        raise not_found("department", "部门", department_id)
    return found


def _unknown(field: str) -> InvalidInput:
    return InvalidInput(field, "DEPARTMENT_UNKNOWN", "没有该部门", "There is no such department")


def _root() -> RuleViolation:
    return RuleViolation(
        "DEPARTMENT_ROOT", "公司根部门不能移动或删除", "The root department cannot be moved or deleted"
    )


def _refusals(name: str) -> dict[str, AlreadyExists]:
    exists = AlreadyExists(
        "DEPARTMENT_EXISTS", "部门 {name} 已存在", "The department {name} exists already", name=name
    )
    return {"uq_department_tenant_id_parent_id_name": exists}
