"""Keep who works where: staff and their lines, and who is signed on at which extension."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.chassis.errors import AlreadyExists, Conflict, NotFound, RuleViolation
from services.chassis.ids import derive_id, new_id
from services.telephony.store import tables
from services.telephony.store.rows import one

EXTENSION = "extension"
DID = "did"

_GIVEN_OWNER = insert(tables.customer_owner).values(
    {column.name: bindparam(column.name, type_=column.type) for column in tables.customer_owner.c}
)
_SAVE_OWNER = DriverQuery(
    _GIVEN_OWNER.on_conflict_do_update(
        index_elements=["tenant_id", "customer_id"],
        set_={name: _GIVEN_OWNER.excluded[name] for name in ("owner_id", "version")},
        where=tables.customer_owner.c.version < _GIVEN_OWNER.excluded.version,
    ).returning(tables.customer_owner.c.version)
)


def save_person(tx: Transaction, person_id: str, version: int, data: Mapping[str, Any]) -> None:
    """Take over what identity says of a person, and register the extension as a line of the tenant.

    An older version is ignored. Raises Conflict LINE_TAKEN while the extension is another tenant's.
    """
    person = tables.person
    active = bool(data["active"])
    extension = data["extension"] if active else ""
    added = insert(person).values(
        id=person_id,
        tenant_id=tx.tenant.id,
        name=data["name"],
        department_path=data["departmentPath"],
        extension=extension,
        version=version,
    )
    written = added.on_conflict_do_update(
        index_elements=["id"],
        set_={name: added.excluded[name] for name in ("name", "department_path", "extension", "version")},
        where=person.c.version < version,
    )
    if tx.session.execute(written.returning(person.c.id)).first() is None:
        return
    line = tables.line
    tx.session.execute(
        delete(line).where(
            line.c.tenant_id == tx.tenant.id,
            line.c.person_id == person_id,
            line.c.kind == EXTENSION,
            line.c.number != extension,
        )
    )
    if not active:
        sign_off(tx, person_id)
    if extension:
        add_line(tx, EXTENSION, extension, person_id=person_id)


def save_owner(tx: Transaction, customer_id: str, owner_id: str, version: int) -> None:
    """Take over who owns a customer, "" for a pool; an older version is ignored."""
    facts = {"customer_id": customer_id, "owner_id": owner_id or None, "version": version}
    _SAVE_OWNER.rows(tx, facts | {"tenant_id": tx.tenant.id})


def add_line(tx: Transaction, kind: str, number: str, *, pbx: str = "", person_id: str | None = None) -> None:
    """Register a number (kind extension or did) as the tenant's; pbx "" means whichever PBX has it.

    Raises Conflict LINE_TAKEN while it is another tenant's: what frees it may be on its way.
    """
    line = tables.line
    added = insert(line).values(
        id=derive_id("line", pbx, kind, number),
        tenant_id=tx.tenant.id,
        pbx=pbx,
        kind=kind,
        number=number,
        person_id=person_id,
    )
    written = added.on_conflict_do_update(
        index_elements=["pbx", "kind", "number"],
        set_={"person_id": added.excluded.person_id},
        where=line.c.tenant_id == tx.tenant.id,
    )
    if tx.session.execute(written.returning(line.c.id)).first() is None:
        raise Conflict(
            "LINE_TAKEN",
            "号码 {number} 已属于其他租户",
            "The number {number} belongs to another tenant",
            number=number,
        )


def add_modem(tx: Transaction, name: str) -> None:
    """Give a modem to the tenant; raises AlreadyExists MODEM_TAKEN when it is another's."""
    modem = tables.modem
    added = insert(modem).values(name=name, tenant_id=tx.tenant.id)
    written = added.on_conflict_do_update(
        index_elements=["name"], set_={"name": name}, where=modem.c.tenant_id == tx.tenant.id
    )
    if tx.session.execute(written.returning(modem.c.name)).first() is None:
        raise AlreadyExists(
            "MODEM_TAKEN",
            "短信猫 {name} 已属于其他租户",
            "The modem {name} belongs to another tenant",
            name=name,
        )


def sign_on(tx: Transaction, person_id: str, name: str, extension: str) -> str:
    """Seat a person at an extension, "" for the own one, and return it.

    Whoever sat there gives way (a desk that somebody forgot to leave is no desk lost), and the person
    leaves the seat before. Raises RuleViolation EXTENSION_MISSING for a person without one, NotFound
    EXTENSION_NOT_FOUND for one that is no line of the tenant, RuleViolation EXTENSION_BUSY while another
    person talks there.
    """
    wanted = extension or own_extension(tx, person_id)
    if not wanted:
        raise RuleViolation(
            "EXTENSION_MISSING", "您没有分机，请选择一个分机", "You have no extension of your own; name one"
        )
    line = tables.line
    query = select(line.c.id).where(
        line.c.tenant_id == tx.tenant.id, line.c.kind == EXTENSION, line.c.number == wanted
    )
    # The line is the lock: of two who sign on at one extension, one is first.
    if tx.session.execute(query.with_for_update()).first() is None:
        raise NotFound(
            "EXTENSION_NOT_FOUND",
            "没有分机 {extension}",
            "There is no extension {extension}",
            extension=wanted,
        )
    session = tables.agent_session
    now_there = session.c.tenant_id == tx.tenant.id, session.c.sign_off_time.is_(None)
    seated = one(tx.session, select(session).where(*now_there, session.c.extension == wanted))
    if seated is not None and seated["person_id"] == person_id:
        return wanted
    if seated is not None and _talks(tx, seated["person_id"], wanted):
        raise RuleViolation(
            "EXTENSION_BUSY",
            "{name}正在分机 {extension} 上通话",
            "{name} is talking at extension {extension}",
            name=seated["person_name"],
            extension=wanted,
        )
    left = tx.session.scalars(
        update(session)
        .where(*now_there, (session.c.extension == wanted) | (session.c.person_id == person_id))
        .values(sign_off_time=tx.now)
        .returning(session.c.person_id)
    ).all()
    tx.session.execute(
        insert(session).values(
            id=new_id(),
            tenant_id=tx.tenant.id,
            person_id=person_id,
            person_name=name,
            extension=wanted,
            sign_on_time=tx.now,
        )
    )
    tell_agents(tx, {person_id, *left})
    return wanted


def sign_off(tx: Transaction, person_id: str) -> None:
    """Leave the seat; without one nothing happens."""
    session = tables.agent_session
    left = tx.session.scalars(
        update(session)
        .where(
            session.c.tenant_id == tx.tenant.id,
            session.c.person_id == person_id,
            session.c.sign_off_time.is_(None),
        )
        .values(sign_off_time=tx.now)
        .returning(session.c.person_id)
    ).all()
    tell_agents(tx, left)


def tell_agents(tx: Transaction, person_ids: Iterable[str]) -> None:
    """Tell the pages of these agents that where they stand may have changed.

    Where they stand follows from seats, choices, calls and the clock, so the event says no more than who: pages ask.
    """
    for person_id in sorted(person_ids):
        tx.emit("agent_changed", person_id, 0, {"personId": person_id})


def seat(tx: Transaction, person_id: str) -> str:
    """Return the extension where a person is signed on, "" for none."""
    session = tables.agent_session
    query = select(session.c.extension).where(
        session.c.tenant_id == tx.tenant.id,
        session.c.person_id == person_id,
        session.c.sign_off_time.is_(None),
    )
    return tx.session.scalars(query).first() or ""


def own_extension(tx: Transaction, person_id: str) -> str:
    """Return the extension registered for a person, "" for none."""
    person = tables.person
    query = select(person.c.extension).where(person.c.tenant_id == tx.tenant.id, person.c.id == person_id)
    return tx.session.scalars(query).first() or ""


def _talks(tx: Transaction, person_id: str, extension: str) -> bool:
    pop = tables.pop
    query = select(pop.c.id).where(
        pop.c.tenant_id == tx.tenant.id,
        pop.c.person_id == person_id,
        pop.c.extension == extension,
        pop.c.state == "talking",
    )
    return tx.session.execute(query.limit(1)).first() is not None
