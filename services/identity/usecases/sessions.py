"""Open, recognise and end sessions and keys."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.identity.domain.people import SESSION, lock_after_failure, parse_name, session_ended
from services.identity.domain.rights import Grant, Scope, check_may_grant
from services.identity.store import queries
from services.identity.store.queries import Member
from services.identity.store.tables import Session
from services.identity.usecases import audit
from services.identity.usecases.credentials import secret_hash
from services.identity.usecases.people import raise_epoch, saved


def open_session(tx: Transaction, person_id: str, secret: str, *, password_right: bool) -> Member | None:
    """Open a session for whoever gave a person's right password; None when it was wrong or the account may not.

    Counts failures and locks the account: commit in both cases.
    """
    person = queries.lock_person(tx, person_id)
    if person.locked_until and tx.now < person.locked_until:
        return None
    if not password_right:
        person.failures, person.locked_until = lock_after_failure(person.failures, tx.now)
        audit.record(tx, "account_locked" if person.locked_until else "sign_in_refused", person.id)
        return None
    if not person.active:
        audit.record(tx, "sign_in_refused", person.id)
        return None
    person.failures, person.locked_until = 0, None
    tx.session.execute(delete(Session).where(Session.person_id == person.id, Session.expire_time <= tx.now))
    tx.session.add(
        Session(
            id=new_id(),
            tenant_id=tx.tenant.id,
            secret_hash=secret_hash(secret),
            kind="session",
            person_id=person.id,
            name="",
            rights=[],
            create_time=tx.now,
            expire_time=session_expire_time(tx.now),
        )
    )
    audit.record(tx, "signed_in", person.id)
    return queries.member(tx, person.id)


def session_expire_time(now: datetime) -> datetime:
    """Return when a session that is opened now ends at the latest."""
    return now + SESSION


def close_session(tx: Transaction, secret: str) -> None:
    """End the session of a secret; one that has ended already is fine, a key is left alone."""
    found = queries.session_by_secret(tx.session, secret_hash(secret))
    if found and found.kind == "session":
        tx.session.delete(found)


def recognise(tx: Transaction, secret: str) -> Caller:
    """Return who is behind the secret of a session or key; raises Unauthenticated SESSION_ENDED.

    A key is a caller of its own, with an id that owns nothing: it has its rights as long as its maker is active and
    has them too.
    """
    found = queries.recognised(tx, secret_hash(secret))
    if found is None or not found.active or (found.expire_time and found.expire_time <= tx.now):
        raise session_ended()
    if found.kind == "api_key":
        return Caller(
            tenant=tx.tenant,
            person_id=found.session_id,
            name=found.session_name,
            rights=found.grant.rights & found.session_rights,
            scope=Scope.SELF,
            department_path=found.department_path,
            epoch=found.epoch,
            account_id=found.person_id,
            is_key=True,
        )
    return Caller(
        tenant=tx.tenant,
        person_id=found.person_id,
        name=found.name,
        rights=found.grant.rights,
        scope=found.grant.scope,
        department_path=found.department_path,
        paths=queries.seen_paths(tx, found.person_id, found.region_ids, found.grant.scopes),
        epoch=found.epoch,
        account_id=found.person_id,
    )


def create_api_key(tx: Transaction, maker: Caller, name: str, rights: Collection[str], secret: str) -> None:
    """Make a key for an outside system.

    Raises InvalidInput for the name or RIGHTS_MISSING, Forbidden RIGHTS_BEYOND_OWN.
    """
    if not rights:
        raise InvalidInput("rights", "RIGHTS_MISSING", "请至少选择一项权限", "Name at least one right")
    asked = Grant(frozenset(rights), Scope.SELF)
    check_may_grant(Grant(maker.rights, Scope(maker.scope)), asked)
    key = Session(
        id=new_id(),
        tenant_id=tx.tenant.id,
        secret_hash=secret_hash(secret),
        kind="api_key",
        person_id=maker.person_id,
        name=parse_name(name, "name"),
        rights=sorted(asked.rights),
        create_time=tx.now,
        expire_time=None,
    )
    tx.session.add(key)
    audit.record(tx, "api_key_created", key.id, details={"name": key.name, "rights": ", ".join(key.rights)})


def revoke_api_key(tx: Transaction, key_id: str) -> None:
    """End a key, whoever made it; raises NotFound.

    Its tokens are of its maker's epoch, so that is raised: the maker and the maker's other keys get new ones unasked.
    """
    maker = queries.lock_person(tx, queries.api_key(tx, key_id).person_id)
    # Under that lock nobody else ends it.
    key = queries.api_key(tx, key_id)
    tx.session.delete(key)
    raise_epoch(tx, maker)
    maker.version += 1
    saved(tx, [maker])
    audit.record(tx, "api_key_revoked", key_id, details={"name": key.name})
