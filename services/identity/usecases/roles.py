"""Roles as data: who may do what is a row that administrators write."""

from collections.abc import Collection
from dataclasses import dataclass

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, RuleViolation
from services.identity.domain.people import parse_name
from services.identity.domain.rights import (
    ADMIN,
    PRESET_CODES,
    Grant,
    Scope,
    check_may_grant,
    parse_code,
    parse_rights,
)
from services.identity.store import queries
from services.identity.store.tables import Role
from services.identity.usecases import audit
from services.identity.usecases.people import check_mask, check_version, raise_epoch, saved

# What an update may set.
UPDATABLE = ("name", "rights", "scope")


@dataclass(frozen=True)
class RoleInput:
    """A role as somebody filled in the form; nothing is checked yet. version: the one that was read."""

    code: str
    name: str
    rights: tuple[str, ...]
    scope: Scope
    version: int


def create_role(tx: Transaction, granter: Grant, given: RoleInput) -> str:
    """Add a role and return its code.

    Raises InvalidInput for a field, AlreadyExists ROLE_EXISTS, Forbidden RIGHTS_BEYOND_OWN.
    """
    rights = parse_rights(given.rights, "role.rights")
    check_may_grant(granter, Grant(rights, given.scope))
    role = Role(
        tenant_id=tx.tenant.id,
        code=parse_code(given.code, "role.code"),
        name=parse_name(given.name, "role.name"),
        scope=given.scope,
        rights=sorted(rights),
        version=1,
    )
    exists = AlreadyExists(
        "ROLE_EXISTS", "角色 {code} 已存在", "The role {code} exists already", code=role.code
    )
    with queries.unique({"pk_role": exists}):
        tx.session.add(role)
        tx.session.flush()
    audit.record(tx, "role_created", None, details={"role": role.code, "rights": ", ".join(role.rights)})
    return role.code


def update_role(tx: Transaction, granter: Grant, given: RoleInput, fields: Collection[str]) -> str:
    """Set the named fields of a role and return its code; its holders have the new rights at once.

    Raises InvalidInput for a field, NotFound, Conflict VERSION_CHANGED, RuleViolation ROLE_FIXED for the
    administrator's, Forbidden RIGHTS_BEYOND_OWN when the role gives, or would give, more than the granter has.
    """
    check_mask(fields, UPDATABLE)
    role = queries.lock_role(tx, given.code)
    if role.code == ADMIN and set(fields) != {"name"}:
        raise RuleViolation(
            "ROLE_FIXED", "管理员角色始终拥有全部权限", "The administrator's role always has every right"
        )
    check_version(role.version, given.version)
    if "name" in fields:
        role.name = parse_name(given.name, "role.name")
    if role.code != ADMIN:
        check_may_grant(granter, Grant(frozenset(role.rights), Scope(role.scope)))
        before, before_scope = set(role.rights), role.scope
        if "rights" in fields:
            role.rights = sorted(parse_rights(given.rights, "role.rights"))
        if "scope" in fields:
            role.scope = given.scope
        check_may_grant(granter, Grant(frozenset(role.rights), Scope(role.scope)))
        if (before, before_scope) != (set(role.rights), role.scope):
            people = queries.lock_holders(tx, role.code)
            for person in people:
                raise_epoch(tx, person)
                person.version += 1
            saved(tx, people)
            audit.record(
                tx,
                "role_changed",
                None,
                details={
                    "role": role.code,
                    "given": ", ".join(sorted(set(role.rights) - before)),
                    "taken": ", ".join(sorted(before - set(role.rights))),
                    "scope": role.scope,
                },
            )
    role.version += 1
    tx.session.flush()
    return role.code


def delete_role(tx: Transaction, granter: Grant, code: str) -> None:
    """Remove a role that nobody holds.

    Raises NotFound, RuleViolation ROLE_PRESET or ROLE_HELD, Forbidden RIGHTS_BEYOND_OWN.
    """
    role = queries.lock_role(tx, code)
    if role.code in PRESET_CODES:
        raise RuleViolation("ROLE_PRESET", "系统预置角色不能删除", "A preset role cannot be deleted")
    check_may_grant(granter, Grant(frozenset(role.rights), Scope(role.scope)))
    holders = queries.holder_counts(tx).get(role.code, 0)
    if holders:
        raise RuleViolation(
            "ROLE_HELD",
            "仍有{holders}人拥有该角色，不能删除",
            "{holders} people still hold this role",
            holders=holders,
        )
    tx.session.delete(role)
    audit.record(tx, "role_deleted", None, details={"role": role.code})
