"""What identity asks its tables."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Select, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, not_found
from services.chassis.tokens import Caller
from services.identity.domain import rights
from services.identity.domain.rights import Grant, Scope
from services.identity.store.tables import Department, Person, PersonRole, Role, Session, Tenant


@dataclass(frozen=True)
class Member:
    """A person with what follows from the person's place and roles. roles: codes, sorted."""

    person: Person
    department: Department
    roles: tuple[str, ...]
    grant: Grant


@contextmanager
def unique(refusals: Mapping[str, AlreadyExists]) -> Iterator[None]:
    """Turn the violation of a constraint into the refusal that is listed under the constraint's name."""
    try:
        yield
    except IntegrityError as error:
        constraint = str(getattr(getattr(error.orig, "diag", None), "constraint_name", ""))
        if constraint in refusals:
            raise refusals[constraint] from error
        raise


def tenant_by_slug(home: DatabaseSession, slug: str) -> Tenant | None:
    """Return a tenant of the directory."""
    return home.scalars(select(Tenant).where(Tenant.slug == slug)).one_or_none()


def all_tenants(home: DatabaseSession) -> Sequence[Tenant]:
    """Return every tenant of the directory, by slug."""
    return home.scalars(select(Tenant).order_by(Tenant.slug)).all()


def tenant_name(home: DatabaseSession, tenant_id: str) -> str:
    """Return a tenant's display name, "" for one that the directory does not have."""
    return home.scalars(select(Tenant.name).where(Tenant.id == tenant_id)).one_or_none() or ""


def session_by_secret(database: DatabaseSession, secret_hash: bytes) -> Session | None:
    """Return the session or key with this secret, of whichever tenant of the database."""
    return database.scalars(select(Session).where(Session.secret_hash == secret_hash)).one_or_none()


def end_sessions(tx: Transaction, person_id: str) -> None:
    """End a person's sessions and the keys that the person made."""
    tx.session.execute(
        delete(Session).where(Session.tenant_id == tx.tenant.id, Session.person_id == person_id)
    )


def person_by_login(tx: Transaction, login: str) -> Person | None:
    """Return a person by sign-in name."""
    return tx.session.scalars(
        select(Person).where(Person.tenant_id == tx.tenant.id, Person.login == login)
    ).one_or_none()


def lock_person(tx: Transaction, person_id: str) -> Person:
    """Return a person's row, locked; raises NotFound."""
    person = tx.session.scalars(
        select(Person)
        .where(Person.tenant_id == tx.tenant.id, Person.id == person_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if person is None:
        raise not_found("person", "人员", person_id)
    return person


def roles(tx: Transaction, codes: Iterable[str] | None = None) -> list[rights.Role]:
    """Return the tenant's roles, or those of them with these codes, by code."""
    query = select(Role).where(Role.tenant_id == tx.tenant.id).order_by(Role.code)
    if codes is not None:
        query = query.where(Role.code.in_(list(codes)))
    return [
        rights.Role(row.code, row.name, Scope(row.scope), frozenset(row.rights))
        for row in tx.session.scalars(query)
    ]


def departments(tx: Transaction) -> list[Department]:
    """Return the tenant's departments, parents before children."""
    return list(
        tx.session.scalars(
            select(Department).where(Department.tenant_id == tx.tenant.id).order_by(Department.path)
        )
    )


def department(tx: Transaction, department_id: str) -> Department | None:
    """Return a department."""
    return tx.session.scalars(
        select(Department).where(Department.tenant_id == tx.tenant.id, Department.id == department_id)
    ).one_or_none()


def member(tx: Transaction, person_id: str) -> Member:
    """Return a person with roles; raises NotFound."""
    found = _members(tx, _people(tx).where(Person.id == person_id))
    if not found:
        raise not_found("person", "人员", person_id)
    return found[0]


def members_by_login(tx: Transaction, caller: Caller, after_login: str, limit: int) -> list[Member]:
    """Return the people that a caller may see, by login, from behind `after_login` on."""
    query = _people(tx).where(Person.login > after_login).order_by(Person.login).limit(limit)
    if caller.scope == Scope.SELF:
        query = query.where(Person.id == caller.person_id)
    elif caller.scope == Scope.DEPARTMENT:
        query = query.where(Department.path.startswith(caller.department_path, autoescape=True))
    return _members(tx, query)


def colleagues(tx: Transaction) -> list[tuple[str, str, str]]:
    """Return (id, name, department's name) of everybody in the tenant, by name."""
    query = (
        select(Person.id, Person.name, Department.name)
        .join(Department, Department.id == Person.department_id)
        .where(Person.tenant_id == tx.tenant.id)
        .order_by(Person.name, Person.login)
    )
    return [(row[0], row[1], row[2]) for row in tx.session.execute(query)]


def role_holders(tx: Transaction, person_id: str, role: str) -> list[str]:
    """Return the active holders of a role in the nearest department, from the person's upward, that has any.

    By login; never the person itself.
    """
    own_path = (
        select(Department.path)
        .join(Person, Person.department_id == Department.id)
        .where(Person.tenant_id == tx.tenant.id, Person.id == person_id)
        .scalar_subquery()
    )
    depth = func.length(Department.path)
    rows = tx.session.execute(
        select(Person.id, depth)
        .join(Department, Department.id == Person.department_id)
        .join(PersonRole, PersonRole.person_id == Person.id)
        .where(
            Person.tenant_id == tx.tenant.id,
            Person.active,
            Person.id != person_id,
            PersonRole.role_code == role,
            func.starts_with(own_path, Department.path),
        )
        .order_by(depth.desc(), Person.login)
    ).all()
    return [found_id for found_id, found_depth in rows if found_depth == rows[0][1]]


def _people(tx: Transaction) -> Select[Person, Department]:
    return (
        select(Person, Department)
        .join(Department, Department.id == Person.department_id)
        .where(Person.tenant_id == tx.tenant.id)
    )


def _members(tx: Transaction, query: Select[Person, Department]) -> list[Member]:
    rows = tx.session.execute(query).all()
    held: defaultdict[str, set[str]] = defaultdict(set)
    for person_id, code in tx.session.execute(
        select(PersonRole.person_id, PersonRole.role_code).where(
            PersonRole.person_id.in_([person.id for person, _ in rows])
        )
    ):
        held[person_id].add(code)
    known = {role.code: role for role in roles(tx, set().union(*held.values()))}
    return [
        Member(
            person,
            place,
            tuple(sorted(held[person.id])),
            rights.together(known[code] for code in held[person.id]),
        )
        for person, place in rows
    ]
