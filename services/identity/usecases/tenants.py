"""Create tenants and their departments."""

from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.orm import Session as DatabaseSession

from services.chassis.db import Store, Transaction
from services.chassis.errors import AlreadyExists, not_found
from services.chassis.ids import new_id
from services.chassis.settings import HOME_DATABASE
from services.identity.domain.people import parse_name, parse_slug
from services.identity.domain.rights import ADMIN, ALL_RIGHTS, EVERY_RIGHT, PRESET_ROLES, Grant, Scope
from services.identity.store import queries
from services.identity.store.tables import Role, Tenant
from services.identity.usecases.departments import add_department
from services.identity.usecases.people import PersonInput, create_person


@dataclass(frozen=True)
class NewTenant:
    """A tenant to be and its first administrator. password_hash: the administrator's."""

    slug: str
    name: str
    admin_login: str
    admin_name: str
    password_hash: str


def create_tenant(home: DatabaseSession, tx: Transaction, new: NewTenant) -> None:
    """Create a tenant with its preset roles, its root department and its first administrator.

    home: an open transaction on the directory, to be committed after `tx`: what is left when the process dies between
    the two is rows that no directory entry leads to. Raises InvalidInput, AlreadyExists TENANT_EXISTS.
    """
    slug = parse_slug(new.slug, "slug")
    name = parse_name(new.name, "name")
    with queries.unique({"uq_tenant_slug": tenant_exists(slug)}):
        home.add(
            Tenant(id=tx.tenant.id, slug=slug, name=name, database=tx.tenant.database, create_time=tx.now)
        )
        home.flush()
    tx.session.add_all(
        Role(
            tenant_id=tx.tenant.id,
            code=role.code,
            name=role.name,
            scope=role.scope,
            rights=[EVERY_RIGHT] if role.code == ADMIN else sorted(role.rights),
        )
        for role in PRESET_ROLES
    )
    tx.session.flush()
    root = add_department(tx, name, None)
    tx.emit("tenant_created", tx.tenant.id, 1, {"tenantName": name})
    admin = PersonInput(
        person_id="",
        login=new.admin_login,
        name=new.admin_name,
        mobile="",
        extension="",
        department_id=root.id,
        roles=("admin",),
        active=True,
        version=0,
    )
    create_person(tx, Grant(ALL_RIGHTS, Scope.ALL), new_id(), admin, new.password_hash)


def register(store: Store, tenant_id: str, database: str) -> None:
    """Let the directory say in which database a tenant is."""
    with store.nobodys(HOME_DATABASE) as home:
        home.execute(update(Tenant).where(Tenant.id == tenant_id).values(database=database))


def tenant_exists(slug: str) -> AlreadyExists:
    """Return the refusal of a short name that is taken."""
    return AlreadyExists("TENANT_EXISTS", "租户 {slug} 已存在", "The tenant {slug} exists already", slug=slug)


def create_department(tx: Transaction, name: str, parent_name: str) -> str:
    """Add a department under the one with this name ("" for the root) and return its id.

    Raises InvalidInput, NotFound DEPARTMENT_NOT_FOUND, AlreadyExists DEPARTMENT_EXISTS.
    """
    tree = queries.departments(tx)
    parent = next(
        (item for item in tree if (item.name == parent_name if parent_name else item.parent_id is None)), None
    )
    if parent is None:
        raise not_found("department", "部门", parent_name)
    return add_department(tx, parse_name(name, "name"), parent).id
