"""What identity asks its tables."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    LargeBinary,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    false,
    func,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession

from services.chassis.bulk import one_of
from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.chassis.errors import AlreadyExists, not_found
from services.chassis.tokens import Caller
from services.identity.domain import rights
from services.identity.domain.rights import ALL_RIGHTS, EVERY_RIGHT, Grant, Scope
from services.identity.store.tables import Audit, Department, Person, PersonRole, Role, Session, Tenant
from services.kernel.filters import may_find
from services.kernel.visibility import visible


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


_TENANT_OF_SESSION: Final = DriverQuery(
    select(Session.tenant_id).where(Session.secret_hash == bindparam("secret_hash"))
)


def tenant_of_session(database: DatabaseSession, secret_hash: bytes) -> str:
    """Return the tenant whose session or key has this secret, "" where the database has none."""
    found = _TENANT_OF_SESSION.rows_by(database.connection(), {"secret_hash": secret_hash})
    return str(found[0][0]) if found else ""


@dataclass(frozen=True)
class Recognised:
    """A session or key with its person, as far as a token tells of them. session_rights: of a key."""

    session_id: str
    kind: str
    session_name: str
    session_rights: frozenset[str]
    expire_time: datetime | None
    person_id: str
    name: str
    active: bool
    epoch: int
    region_ids: tuple[str, ...]
    department_path: str
    grant: Grant


# A row for each role, one without for who has none: in one look, as everybody's token is made anew all the time.
_RECOGNISE: Final = DriverQuery(
    select(
        *(Session.id, Session.kind, Session.name, Session.rights, Session.expire_time),
        *(Person.id, Person.name, Person.active, Person.epoch, Person.region_ids, Department.path),
        *(Role.code, Role.name, Role.scope, Role.rights, Role.version),
    )
    .join(Person, Person.id == Session.person_id)
    .join(Department, Department.id == Person.department_id)
    .outerjoin(PersonRole, PersonRole.person_id == Person.id)
    .outerjoin(Role, and_(Role.tenant_id == PersonRole.tenant_id, Role.code == PersonRole.role_code))
    .where(Session.tenant_id == bindparam("tenant_id"), Session.secret_hash == bindparam("secret_hash"))
)


def recognised(tx: Transaction, secret_hash: bytes) -> Recognised | None:
    """Return the tenant's session or key with this secret, ended or not."""
    rows = _RECOGNISE.rows(tx, {"tenant_id": tx.tenant.id, "secret_hash": secret_hash})
    if not rows:
        return None
    session_id, kind, session_name, key_rights, expire_time = rows[0][:5]
    person_id, name, active, epoch, region_ids, path = rows[0][5:11]
    return Recognised(
        session_id=str(session_id),
        kind=kind,
        session_name=session_name,
        session_rights=frozenset(key_rights),
        expire_time=expire_time,
        person_id=str(person_id),
        name=name,
        active=active,
        epoch=epoch,
        region_ids=tuple(map(str, region_ids)),
        department_path=path,
        grant=rights.together(_role(*row[11:]) for row in rows if row[11] is not None),
    )


def living_sessions(database: DatabaseSession, secret_hashes: Collection[bytes], now: datetime) -> set[bytes]:
    """Return those of these hashes whose session or key still holds: whom `recognise` would not refuse."""
    given = bindparam(None, list(secret_hashes), ARRAY(LargeBinary))
    found = database.scalars(
        select(Session.secret_hash)
        .join(Person, Person.id == Session.person_id)
        .where(
            Session.secret_hash == any_(given),
            Person.active,
            or_(Session.expire_time.is_(None), Session.expire_time > now),
        )
    )
    return set(found)


def end_sessions(tx: Transaction, person_id: str, *, keys: bool) -> None:
    """End a person's sessions, and with `keys` the keys that the person made."""
    ended = delete(Session).where(Session.tenant_id == tx.tenant.id, Session.person_id == person_id)
    tx.session.execute(ended if keys else ended.where(Session.kind == "session"))


def api_keys(tx: Transaction) -> Sequence[Session]:
    """Return the tenant's keys, the newest first."""
    return tx.session.scalars(_api_keys(tx).order_by(Session.create_time.desc(), Session.id.desc())).all()


def api_key(tx: Transaction, key_id: str) -> Session:
    """Return a key; raises NotFound."""
    key = tx.session.scalars(_api_keys(tx).where(Session.id == key_id)).one_or_none()
    if key is None:
        raise not_found("api_key", "接口密钥", key_id)
    return key


def _api_keys(tx: Transaction) -> Select[Session]:
    return select(Session).where(Session.tenant_id == tx.tenant.id, Session.kind == "api_key")


_EPOCHS_SINCE: Final = DriverQuery(
    select(Person.id, Person.epoch).where(Person.epoch_time >= bindparam("since"))
)


def epochs_since(database: DatabaseSession, since: datetime) -> list[tuple[str, int]]:
    """Return (person id, epoch) of everybody of the database whose epoch was raised since then."""
    found = _EPOCHS_SINCE.rows_by(database.connection(), {"since": since})
    return [(str(person_id), epoch) for person_id, epoch in found]


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


def roles(tx: Transaction, codes: Iterable[str] | None = None, *, held: bool = False) -> list[rights.Role]:
    """Return the tenant's roles, or those of them with these codes, by code; with `held` nobody changes them now."""
    query = select(Role).where(Role.tenant_id == tx.tenant.id).order_by(Role.code)
    if codes is not None:
        query = query.where(Role.code.in_(list(codes)))
    if held:
        query = query.with_for_update(read=True)
    return [
        _role(row.code, row.name, row.scope, row.rights, row.version) for row in tx.session.scalars(query)
    ]


def _role(code: str, name: str, scope: str, given: Collection[str], version: int) -> rights.Role:
    """Return a role as the rules know it, of a row's columns."""
    return rights.Role(
        code, name, Scope(scope), ALL_RIGHTS if EVERY_RIGHT in given else frozenset(given), version
    )


def lock_role(tx: Transaction, code: str) -> Role:
    """Return a role's row, locked; raises NotFound."""
    role = tx.session.scalars(
        select(Role)
        .where(Role.tenant_id == tx.tenant.id, Role.code == code)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if role is None:
        raise not_found("role", "角色", code)
    return role


def holder_counts(tx: Transaction) -> dict[str, int]:
    """Return how many people hold each role that anybody holds."""
    counted = tx.session.execute(
        select(PersonRole.role_code, func.count())
        .where(PersonRole.tenant_id == tx.tenant.id)
        .group_by(PersonRole.role_code)
    )
    return {row[0]: row[1] for row in counted}


def lock_holders(tx: Transaction, code: str) -> list[Person]:
    """Return every holder of a role, locked in id order."""
    held = select(PersonRole.person_id).where(
        PersonRole.tenant_id == tx.tenant.id, PersonRole.role_code == code
    )
    return _lock_people(tx, Person.id.in_(held))


def lock_people_of(
    tx: Transaction, department_ids: Sequence[str], person_ids: Iterable[str] = ()
) -> list[Person]:
    """Return whoever is in these departments, or has one of them as a region, or is named; locked in id order."""
    return _lock_people(
        tx,
        or_(
            Person.department_id.in_(department_ids),
            Person.region_ids.bool_op("&&")(cast(list(department_ids), ARRAY(Uuid(as_uuid=False)))),
            Person.id.in_(list(person_ids)),
        ),
    )


def _lock_people(tx: Transaction, who: ColumnElement[bool]) -> list[Person]:
    return list(
        tx.session.scalars(
            select(Person)
            .where(Person.tenant_id == tx.tenant.id, who)
            .order_by(Person.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    )


def departments(tx: Transaction) -> list[Department]:
    """Return the tenant's departments, parents before children, siblings in their order."""
    found = tx.session.scalars(
        select(Department)
        .where(Department.tenant_id == tx.tenant.id)
        .order_by(Department.position, Department.name)
    ).all()
    children: defaultdict[str | None, list[Department]] = defaultdict(list)
    for item in found:
        children[item.parent_id].append(item)
    ordered: list[Department] = []
    waiting = children[None][::-1]
    while waiting:
        ordered.append(waiting.pop())
        waiting += children[ordered[-1].id][::-1]
    return ordered


def lock_departments(tx: Transaction) -> dict[str, Department]:
    """Lock the tenant's whole tree and return it by id: moves must not cross."""
    found = tx.session.scalars(
        select(Department)
        .where(Department.tenant_id == tx.tenant.id)
        .order_by(Department.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {item.id: item for item in found}


def person_counts(tx: Transaction) -> dict[str, int]:
    """Return how many people each department has that has any, those who left not counted."""
    counted = tx.session.execute(
        select(Person.department_id, func.count())
        .where(Person.tenant_id == tx.tenant.id, Person.leave_time.is_(None))
        .group_by(Person.department_id)
    )
    return {row[0]: row[1] for row in counted}


def posts_held(tx: Transaction, department_id: str) -> set[str]:
    """Return the posts that people of a department hold."""
    return set(
        tx.session.scalars(
            select(Person.post).where(
                Person.tenant_id == tx.tenant.id,
                Person.department_id == department_id,
                Person.leave_time.is_(None),
                Person.post != "",
            )
        )
    )


def seen_paths(
    tx: Transaction, person_id: str, region_ids: Sequence[str], scopes: Iterable[Scope]
) -> tuple[str, ...]:
    """Return the paths of the departments that somebody sees beside the own one: as a head, or as regions."""
    wanted = set(scopes)
    chosen = []
    if Scope.SUBORDINATES in wanted:
        chosen.append(Department.head_id == person_id)
    if Scope.REGIONS in wanted and region_ids:
        chosen.append(Department.id.in_(region_ids))
    if not chosen:
        return ()
    paths = tx.session.scalars(
        select(Department.path).where(Department.tenant_id == tx.tenant.id, or_(*chosen))
    )
    return rights.minimal_paths(paths)


def audit_entries(
    tx: Transaction,
    *,
    action: str,
    actor_id: str,
    subject_id: str,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Audit]:
    """Return audit rows, newest first; empty texts filter nothing. before: time and id of the last one before."""
    query = select(Audit).where(Audit.tenant_id == tx.tenant.id)
    if action:
        query = query.where(Audit.action == action)
    if actor_id:
        query = query.where(Audit.actor_id == actor_id)
    if subject_id:
        query = query.where(Audit.subject_id == subject_id)
    if before:
        query = query.where(tuple_(Audit.create_time, Audit.id) < before)
    return list(tx.session.scalars(query.order_by(Audit.create_time.desc(), Audit.id.desc()).limit(limit)))


def department(tx: Transaction, department_id: str, *, held: bool = False) -> Department | None:
    """Return a department; with `held` nobody moves or removes it now."""
    query = select(Department).where(Department.tenant_id == tx.tenant.id, Department.id == department_id)
    if held:
        query = query.with_for_update(read=True).execution_options(populate_existing=True)
    return tx.session.scalars(query).one_or_none()


def department_paths(tx: Transaction, department_ids: Iterable[str]) -> dict[str, str]:
    """Return the paths of those of these departments that there are, by id."""
    found = tx.session.execute(
        select(Department.id, Department.path).where(
            Department.tenant_id == tx.tenant.id, Department.id.in_(list(department_ids))
        )
    )
    return {row[0]: row[1] for row in found}


def member(tx: Transaction, person_id: str) -> Member:
    """Return a person with roles; raises NotFound."""
    found = _members(tx, _people(tx).where(Person.id == person_id))
    if not found:
        raise not_found("person", "人员", person_id)
    return found[0]


def members(tx: Transaction, person_ids: Iterable[str]) -> list[Member]:
    """Return these people with roles, by id."""
    return _members(tx, _people(tx).where(Person.id.in_(list(person_ids))).order_by(Person.id))


def members_by_login(
    tx: Transaction,
    caller: Caller,
    after_id: str | None,
    limit: int,
    *,
    below: str = "",
    query: str = "",
    numbers_shown: bool,
) -> list[Member]:
    """Return the people that a caller may see, by login, from behind a person on; after_id: None for the first.

    below: only those of this department's path and below. query: only with this text in name or login; numbers_shown:
    else a login that is a number is not found by its digits.
    """
    found = _people(tx).where(visible(caller, Person.id, Department.path)).order_by(Person.login).limit(limit)
    if after_id:
        before = select(Person.login).where(Person.tenant_id == tx.tenant.id, Person.id == after_id)
        found = found.where(Person.login > before.scalar_subquery())
    if below:
        found = found.where(Department.path.startswith(below, autoescape=True))
    if query:
        found = found.where(
            or_(
                Person.name.icontains(query, autoescape=True),
                and_(
                    Person.login.icontains(query, autoescape=True),
                    may_find(Person.login, query, true() if numbers_shown else false()),
                ),
            )
        )
    return _members(tx, found)


def names(tx: Transaction, person_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of those of these people whom there are, by id."""
    query = select(Person.id, Person.name).where(
        Person.tenant_id == tx.tenant.id, one_of(Person.id, person_ids)
    )
    return {row[0]: row[1] for row in tx.session.execute(query)}


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


def heads_over(tx: Transaction, person_id: str, path: str) -> list[str]:
    """Return the heads of the department with this path and of those above it, the nearest first.

    Each once, active or not, and never the person itself: whoever heads the own department has the next one's head
    over them.
    """
    found = tx.session.scalars(
        select(Department.head_id)
        .where(
            Department.tenant_id == tx.tenant.id,
            Department.head_id.is_not(None),
            Department.head_id != person_id,
            func.starts_with(path, Department.path),
        )
        .order_by(func.length(Department.path).desc())
    )
    return list(dict.fromkeys(head for head in found if head))


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
