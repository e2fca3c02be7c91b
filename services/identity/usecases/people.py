"""Add and change people; say who they are and who stands over them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import delete

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, InvalidInput, RuleViolation
from services.chassis.ids import parse_id
from services.identity.domain import rights
from services.identity.domain.people import parse_extension, parse_login, parse_mobile, parse_name
from services.identity.domain.rights import Grant, check_may_grant
from services.identity.store import queries
from services.identity.store.queries import Member
from services.identity.store.tables import Person, PersonRole
from services.identity.usecases import audit

# What an update may set.
UPDATABLE = ("name", "mobile", "extension", "department_id", "roles", "active")


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


def create_person(
    tx: Transaction, granter: Grant, person_id: str, given: PersonInput, password_hash: str
) -> Member:
    """Add a person, who can sign in at once; `given.active` is not looked at.

    Raises InvalidInput for a field, AlreadyExists LOGIN_TAKEN or EXTENSION_TAKEN, Forbidden RIGHTS_BEYOND_OWN for a
    role that gives more than the granter has.
    """
    codes = _codes(tx, given.roles)
    check_may_grant(granter, rights.together(codes))
    person = Person(
        id=person_id,
        tenant_id=tx.tenant.id,
        login=parse_login(given.login, "person.login"),
        name=parse_name(given.name, "person.name"),
        mobile=parse_mobile(given.mobile, "person.mobile"),
        extension=parse_extension(given.extension, "person.extension"),
        department_id=_department_id(tx, given.department_id),
        active=True,
        password_hash=password_hash,
        failures=0,
        epoch=1,
        version=1,
        create_time=tx.now,
    )
    with queries.unique(_refusals(given)):
        tx.session.add(person)
        tx.session.flush()
    _set_roles(tx, person.id, (role.code for role in codes))
    return _saved(tx, person)


def update_person(tx: Transaction, granter: Grant, given: PersonInput, fields: Collection[str]) -> Member:
    """Set the named fields of a person; what was not named stays.

    Raises InvalidInput for a field or an unknown one, NotFound, Conflict VERSION_CHANGED, RuleViolation
    OWN_ACCOUNT for disabling oneself or changing one's own roles, Forbidden RIGHTS_BEYOND_OWN when the person has, or
    would get, more than the granter has, AlreadyExists EXTENSION_TAKEN.
    """
    if not fields or not set(fields) <= set(UPDATABLE):
        raise InvalidInput(
            "update_mask",
            "UPDATE_MASK_INVALID",
            "只能修改：{fields}",
            "Only these can be set: {fields}",
            fields=", ".join(UPDATABLE),
        )
    person = queries.lock_person(tx, parse_id(given.person_id, "person.person_id"))
    before = queries.member(tx, person.id)
    check_may_grant(granter, before.grant)
    if person.version != given.version:
        raise Conflict(
            "VERSION_CHANGED",
            "资料已被他人修改，请刷新后重试",
            "Somebody else changed this meanwhile; reload and try again",
            version=person.version,
        )
    codes = sorted(set(given.roles)) if "roles" in fields else list(before.roles)
    active = given.active if "active" in fields else person.active
    if person.id == tx.actor_id and (not active or codes != list(before.roles)):
        raise RuleViolation(
            "OWN_ACCOUNT",
            "不能停用自己的账号或修改自己的角色",
            "You cannot disable your own account or change your own roles",
        )
    if "name" in fields:
        person.name = parse_name(given.name, "person.name")
    if "mobile" in fields:
        person.mobile = parse_mobile(given.mobile, "person.mobile")
    if "extension" in fields:
        person.extension = parse_extension(given.extension, "person.extension")
    if "department_id" in fields:
        person.department_id = _department_id(tx, given.department_id)
    if "roles" in fields:
        check_may_grant(granter, rights.together(_codes(tx, codes)))
        _set_roles(tx, person.id, codes)
    if person.active and not active:
        queries.end_sessions(tx, person.id)
        audit.record(tx, "account_disabled", person.id)
    person.active = active
    if {"roles", "active", "department_id"} & set(fields):
        person.epoch += 1
    person.version += 1
    with queries.unique(_refusals(given)):
        tx.session.flush()
    return _saved(tx, person)


def resolve_mobile(tx: Transaction, person_id: str, service: str) -> str:
    """Return a person's mobile in the clear, "" for none, and note who asked; raises NotFound."""
    found = queries.member(tx, parse_id(person_id, "person_id"))
    audit.record(tx, "mobile_resolved", found.person.id, service)
    return found.person.mobile


def _codes(tx: Transaction, codes: Iterable[str]) -> list[rights.Role]:
    wanted = set(codes)
    found = queries.roles(tx, wanted)
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


def _department_id(tx: Transaction, department_id: str) -> str:
    found = queries.department(tx, parse_id(department_id, "person.department_id"))
    if found is None:
        raise InvalidInput(
            "person.department_id", "DEPARTMENT_UNKNOWN", "没有该部门", "There is no such department"
        )
    return found.id


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


def _saved(tx: Transaction, person: Person) -> Member:
    member = queries.member(tx, person.id)
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
            "epoch": person.epoch,
        },
    )
    return member
