"""Add and change people; say who they are and who stands over them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import delete

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, InvalidInput, RuleViolation
from services.chassis.ids import parse_id
from services.identity.domain import rights
from services.identity.domain.people import (
    invalid_credentials,
    lock_after_failure,
    parse_extension,
    parse_login,
    parse_mobile,
    parse_name,
)
from services.identity.domain.rights import Grant, check_may_grant
from services.identity.store import queries
from services.identity.store.queries import Member
from services.identity.store.tables import Department, Person, PersonRole
from services.identity.usecases import audit

# What an update may set.
UPDATABLE = (
    "name",
    "mobile",
    "extension",
    "department_id",
    "roles",
    "active",
    "post",
    "region_department_ids",
)
# What a person may set of the own data.
OWN_UPDATABLE = ("name", "mobile")


@dataclass(frozen=True)
class PersonInput:
    """A person as somebody filled in the form; nothing is checked yet. version: the one that was read."""

    person_id: str
    login: str
    name: str
    mobile: str
    extension: str
    department_id: str
    roles: tuple[str, ...]
    active: bool
    version: int
    post: str = ""
    region_department_ids: tuple[str, ...] = ()


def create_person(
    tx: Transaction, granter: Grant, person_id: str, given: PersonInput, password_hash: str
) -> Member:
    """Add a person, who can sign in at once; `given.active` is not looked at.

    Raises InvalidInput for a field, AlreadyExists LOGIN_TAKEN or EXTENSION_TAKEN, Forbidden RIGHTS_BEYOND_OWN for a
    role that gives more than the granter has.
    """
    # Departments before roles before people: everybody locks in this order.
    place = _department(tx, given.department_id)
    codes = _codes(tx, given.roles)
    check_may_grant(granter, rights.together(codes))
    person = Person(
        id=person_id,
        tenant_id=tx.tenant.id,
        login=parse_login(given.login, "person.login"),
        name=parse_name(given.name, "person.name"),
        mobile=parse_mobile(given.mobile, "person.mobile"),
        extension=parse_extension(given.extension, "person.extension"),
        department_id=place.id,
        active=True,
        password_hash=password_hash,
        failures=0,
        epoch=1,
        version=1,
        post=_post(place, given.post),
        region_ids=_regions(tx, given.region_department_ids),
        create_time=tx.now,
    )
    with queries.unique(_refusals(given)):
        tx.session.add(person)
        tx.session.flush()
    _set_roles(tx, person.id, (role.code for role in codes))
    audit.record(tx, "person_created", person.id, details={"roles": ", ".join(sorted(given.roles))})
    return saved(tx, [person])[0]


def update_person(tx: Transaction, granter: Grant, given: PersonInput, fields: Collection[str]) -> Member:
    """Set the named fields of a person; what was not named stays.

    A change of roles, department, regions or activity reaches open sessions at once. Who left and becomes active is
    back. Raises InvalidInput for a field or an unknown one, NotFound, Conflict VERSION_CHANGED, RuleViolation
    OWN_ACCOUNT for disabling oneself or changing one's own roles, Forbidden RIGHTS_BEYOND_OWN when the person has, or
    would get, more than the granter has, AlreadyExists EXTENSION_TAKEN.
    """
    check_mask(fields, UPDATABLE)
    person_id = parse_id(given.person_id, "person.person_id")
    place = _department(tx, given.department_id) if "department_id" in fields else None
    granted = _codes(tx, given.roles) if "roles" in fields else None
    person = queries.lock_person(tx, person_id)
    before = queries.member(tx, person.id)
    check_may_grant(granter, before.grant)
    check_version(person.version, given.version)
    codes = sorted({role.code for role in granted}) if granted is not None else list(before.roles)
    active = given.active if "active" in fields else person.active
    if person.id == tx.actor_id and (not active or codes != list(before.roles)):
        raise _own_account()
    if "name" in fields:
        person.name = parse_name(given.name, "person.name")
    if "mobile" in fields:
        person.mobile = parse_mobile(given.mobile, "person.mobile")
    if "extension" in fields:
        person.extension = parse_extension(given.extension, "person.extension")
    if place and place.id != person.department_id:
        audit.record(
            tx, "person_moved", person.id, details={"to": place.name, "from": before.department.name}
        )
        person.department_id = place.id
        if "post" not in fields:
            # A post belongs to its department.
            person.post = person.post if person.post in place.posts else ""
    if "post" in fields:
        person.post = _post(place or before.department, given.post)
    if "region_department_ids" in fields:
        person.region_ids = _regions(tx, given.region_department_ids)
    if granted is not None and codes != list(before.roles):
        check_may_grant(granter, rights.together(granted))
        _set_roles(tx, person.id, codes)
        audit.record(
            tx,
            "person_roles_changed",
            person.id,
            details={"from": ", ".join(before.roles), "to": ", ".join(codes)},
        )
    if person.active and not active:
        queries.end_sessions(tx, person.id, keys=True)
        audit.record(tx, "account_disabled", person.id)
    if active and not person.active:
        person.leave_time = None
        audit.record(tx, "account_enabled", person.id)
    person.active = active
    if {"roles", "active", "department_id", "region_department_ids"} & set(fields):
        raise_epoch(tx, person)
    person.version += 1
    with queries.unique(_refusals(given)):
        tx.session.flush()
    return saved(tx, [person])[0]


def retire_person(tx: Transaction, granter: Grant, person_id: str) -> Member:
    """Note that a person left: no sign-in, no extension, head of nothing; records keep the name.

    One who left already stays so. Raises NotFound, RuleViolation OWN_ACCOUNT, Forbidden RIGHTS_BEYOND_OWN.
    """
    tree = queries.lock_departments(tx)
    person = queries.lock_person(tx, person_id)
    check_may_grant(granter, queries.member(tx, person.id).grant)
    if person.id == tx.actor_id:
        raise _own_account()
    if person.leave_time is None:
        for department in tree.values():
            if department.head_id == person.id:
                department.head_id = None
                department.version += 1
        queries.end_sessions(tx, person.id, keys=True)
        person.active, person.leave_time, person.extension, person.post = False, tx.now, "", ""
        raise_epoch(tx, person)
        person.version += 1
        audit.record(tx, "person_left", person.id)
    return saved(tx, [person])[0]


def reset_password(tx: Transaction, granter: Grant, person_id: str, password_hash: str) -> None:
    """Give a person another password, unlock the account and end its sessions.

    Raises NotFound, Forbidden RIGHTS_BEYOND_OWN: whoever sets a password could sign in with it.
    """
    person = queries.lock_person(tx, person_id)
    check_may_grant(granter, queries.member(tx, person.id).grant)
    _set_password(tx, person, password_hash)
    audit.record(tx, "password_reset", person.id)


def change_password(tx: Transaction, password_hash: str, *, old_matches: bool) -> bool:
    """Change the actor's own password; false when the old one was wrong, which counts as a failed sign-in.

    Every session ends. Commit in both cases. Raises Unauthenticated INVALID_CREDENTIALS for a locked account.
    """
    person = queries.lock_person(tx, tx.actor_id)
    if person.locked_until and tx.now < person.locked_until:
        raise invalid_credentials()
    if not old_matches:
        person.failures, person.locked_until = lock_after_failure(person.failures, tx.now)
        if person.locked_until:
            audit.record(tx, "account_locked", person.id)
        return False
    _set_password(tx, person, password_hash)
    audit.record(tx, "password_changed", person.id)
    return True


def sign_out_everywhere(tx: Transaction, granter: Grant, person_id: str) -> None:
    """End a person's sessions now; keys stay. Raises NotFound, Forbidden RIGHTS_BEYOND_OWN."""
    person = queries.lock_person(tx, person_id)
    check_may_grant(granter, queries.member(tx, person.id).grant)
    queries.end_sessions(tx, person.id, keys=False)
    raise_epoch(tx, person)
    person.version += 1
    saved(tx, [person])
    audit.record(tx, "sessions_ended", person.id)


def update_me(tx: Transaction, name: str, mobile: str, fields: Collection[str]) -> Member:
    """Set the actor's own name or mobile; raises InvalidInput for a field or an unknown one."""
    check_mask(fields, OWN_UPDATABLE)
    person = queries.lock_person(tx, tx.actor_id)
    if "name" in fields:
        person.name = parse_name(name, "name")
    if "mobile" in fields:
        person.mobile = parse_mobile(mobile, "mobile")
    person.version += 1
    return saved(tx, [person])[0]


def raise_epoch(tx: Transaction, person: Person) -> None:
    """Make every token that a person has now an old one; lock the person's row first."""
    person.epoch += 1
    person.epoch_time = tx.now


def saved(tx: Transaction, people: Iterable[Person]) -> list[Member]:
    """Tell others of people whose rows are locked, and return them by id."""
    members = queries.members(tx, [person.id for person in people])
    for member in members:
        person = member.person
        tx.emit(
            "person_saved",
            person.id,
            person.version,
            {
                "personId": person.id,
                "name": person.name,
                "extension": person.extension,
                "active": person.active,
                "departmentPath": member.department.path,
                "rights": sorted(member.grant.rights),
                "roles": list(member.roles),
                "regionDepartmentIds": list(person.region_ids),
                "epoch": person.epoch,
            },
        )
    return members


def check_mask(fields: Collection[str], updatable: Collection[str]) -> None:
    """Raise InvalidInput UPDATE_MASK_INVALID unless at least one field is named, and none but these."""
    if not fields or not set(fields) <= set(updatable):
        raise InvalidInput(
            "update_mask",
            "UPDATE_MASK_INVALID",
            "只能修改：{fields}",
            "Only these can be set: {fields}",
            fields=", ".join(updatable),
        )


def check_version(stored: int, read: int) -> None:
    """Raise Conflict VERSION_CHANGED when a row is not the one that was read."""
    if stored != read:
        raise Conflict(
            "VERSION_CHANGED",
            "资料已被他人修改，请刷新后重试",
            "Somebody else changed this meanwhile; reload and try again",
            version=stored,
        )


def resolve_mobile(tx: Transaction, person_id: str, service: str) -> str:
    """Return a person's mobile in the clear, "" for none, and note who asked; raises NotFound."""
    found = queries.member(tx, parse_id(person_id, "person_id"))
    audit.record(tx, "mobile_resolved", found.person.id, service)
    return found.person.mobile


def _codes(tx: Transaction, codes: Iterable[str]) -> list[rights.Role]:
    wanted = set(codes)
    found = queries.roles(tx, wanted, held=True)
    unknown = wanted - {role.code for role in found}
    if unknown:
        raise InvalidInput(
            "person.roles",
            "ROLE_UNKNOWN",
            "没有该角色：{roles}",
            "No such role: {roles}",
            roles=", ".join(sorted(unknown)),
        )
    return found


def _department(tx: Transaction, department_id: str) -> Department:
    found = queries.department(tx, parse_id(department_id, "person.department_id"), held=True)
    if found is None:
        raise InvalidInput(
            "person.department_id", "DEPARTMENT_UNKNOWN", "没有该部门", "There is no such department"
        )
    return found


def _post(department: Department, post: str) -> str:
    name = post.strip()
    if name and name not in department.posts:
        raise InvalidInput(
            "person.post",
            "POST_UNKNOWN",
            "该部门没有岗位“{post}”",
            "The department has no post called {post}",
            post=name,
        )
    return name


def _regions(tx: Transaction, department_ids: Iterable[str]) -> list[str]:
    wanted = sorted({parse_id(given, "person.region_department_ids") for given in department_ids})
    if set(queries.department_paths(tx, wanted)) != set(wanted):
        raise InvalidInput(
            "person.region_department_ids", "DEPARTMENT_UNKNOWN", "没有该部门", "There is no such department"
        )
    return wanted


def _set_password(tx: Transaction, person: Person, password_hash: str) -> None:
    person.password_hash = password_hash
    person.failures, person.locked_until = 0, None
    queries.end_sessions(tx, person.id, keys=False)
    raise_epoch(tx, person)
    person.version += 1
    saved(tx, [person])


def _own_account() -> RuleViolation:
    return RuleViolation(
        "OWN_ACCOUNT",
        "不能停用自己的账号或修改自己的角色",
        "You cannot disable your own account or change your own roles",
    )


def _set_roles(tx: Transaction, person_id: str, codes: Iterable[str]) -> None:
    tx.session.execute(delete(PersonRole).where(PersonRole.person_id == person_id))
    tx.session.add_all(
        PersonRole(person_id=person_id, role_code=code, tenant_id=tx.tenant.id) for code in codes
    )
    tx.session.flush()


def _refusals(given: PersonInput) -> dict[str, AlreadyExists]:
    return {
        "uq_person_tenant_id_login": AlreadyExists(
            "LOGIN_TAKEN", "账号 {login} 已被使用", "The login {login} is taken", login=given.login
        ),
        "uq_person_extension": AlreadyExists(
            "EXTENSION_TAKEN",
            "分机号 {extension} 已分配给他人",
            "The extension {extension} belongs to somebody else",
            extension=given.extension,
        ),
    }
