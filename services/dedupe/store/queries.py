"""Dedupe's queries that are more than one line."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    DateTime,
    LargeBinary,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    exists,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.chassis.bulk import array_text, as_rows, inserting
from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.chassis.ids import derive_id
from services.dedupe.domain.evidence import Evidence
from services.dedupe.domain.keys import ALWAYS_NOTED, PRESET_RULES, Key, RuleField, SubjectKind
from services.dedupe.domain.reservations import ReservationState
from services.dedupe.domain.rules import Entrance, Verdict
from services.dedupe.domain.suspects import Suspicion as SuspicionSettings
from services.dedupe.domain.suspects import suspicion_from
from services.dedupe.matching.weights import Weights
from services.dedupe.store.tables import HeldKey, MatchRecord, Reservation, Rule, Suspicion

TENANT = bindparam("tenant_id", type_=Uuid(as_uuid=False))


# The keys asked for, from three lists.
WANTED = (
    func.unnest(
        bindparam("kinds", type_=ARRAY(Text)),
        bindparam("fields", type_=ARRAY(Text)),
        bindparam("digests", type_=ARRAY(LargeBinary)),
    )
    .table_valued("kind", "field", "digest", name="wanted")
    .render_derived()
)
# Key by key, and for each its reservation: of a tenant that came since statistics were made the planner knows no rows,
# and would join all that it has by now.
HELD = (
    select(HeldKey.subject_id, HeldKey.reservation_id)
    .where(
        HeldKey.tenant_id == TENANT,
        HeldKey.kind == WANTED.c.kind,
        HeldKey.field == WANTED.c.field,
        HeldKey.digest == WANTED.c.digest,
    )
    .limit(1)
    .lateral("held")
)
RESERVATION = (
    select(Reservation.holder_name, Reservation.create_time)
    .where(Reservation.tenant_id == TENANT, Reservation.reservation_id == HELD.c.reservation_id)
    .limit(1)
    .lateral("reservation")
)
HOLDER = (
    WANTED.c.kind,
    WANTED.c.field,
    WANTED.c.digest,
    cast(HELD.c.subject_id, Text).label("subject_id"),
    cast(HELD.c.reservation_id, Text).label("reservation_id"),
    *RESERVATION.c,
)


BEGIN_RESERVING = DriverQuery(
    select(
        func.pg_advisory_xact_lock_shared(bindparam("lock", type_=BigInteger)),
        exists().where(
            Reservation.tenant_id == TENANT,
            Reservation.settle_time > bindparam("now", type_=DateTime(timezone=True)),
        ),
    )
)
RESERVING = DriverQuery(
    insert(Reservation)
    .values({column.name: bindparam(column.name, type_=column.type) for column in Reservation.__table__.c})
    .on_conflict_do_nothing()
    .returning(Reservation.reservation_id)
)
# One that was cancelled stays so.
CONFIRMING = DriverQuery(
    update(Reservation)
    .where(
        Reservation.tenant_id == TENANT,
        Reservation.reservation_id == bindparam("reservation_id", type_=Uuid(as_uuid=False)),
        Reservation.state != ReservationState.CANCELLED.value,
    )
    .values(state=ReservationState.CONFIRMED.value)
    .returning(Reservation.state)
)
NOTE_OWNER = DriverQuery(
    update(MatchRecord)
    .where(
        MatchRecord.tenant_id == TENANT,
        MatchRecord.customer_id == bindparam("customer_id", type_=Uuid(as_uuid=False)),
        MatchRecord.owner_version <= bindparam("owner_version", type_=BigInteger),
    )
    .values(
        owner_id=bindparam("owner_id", type_=Uuid(as_uuid=False)),
        owner_version=bindparam("owner_version", type_=BigInteger),
    )
    .returning(MatchRecord.owner_version)
)
TAKING = DriverQuery(
    inserting(HeldKey, ("tenant_id", "kind", "field", "digest", "subject_id", "reservation_id"), "rows")
    .on_conflict_do_nothing()
    .returning(*(HeldKey.__table__.c[name] for name in ("kind", "field", "digest")))
)
# Made once, with one parameter for each list: a check waits for them.
RULES = select(Rule).where(Rule.tenant_id == TENANT).order_by(Rule.kind, Rule.field)
HOLDERS = DriverQuery(select(*HOLDER).join_from(WANTED, HELD, true()).join(RESERVATION, true()))
SETTINGS = select(Suspicion.settings).where(Suspicion.tenant_id == TENANT)


class ActiveRule(NamedTuple):
    """What of a rule a check goes by; the columns of that name, and the tenant's settings beside each."""

    kind: str
    field: str
    active: bool
    verdict: str
    threshold: float | None
    entrances: Sequence[str]
    settings: Mapping[str, Any] | None


# Each rule, once for each key asked for that it is about, with the holder of that key.
ACTIVE_RULES = DriverQuery(
    select(
        *(Rule.__table__.c[name] for name in ActiveRule._fields[:-1]),
        SETTINGS.scalar_subquery().label("settings"),
        *HOLDER,
    )
    .outerjoin_from(Rule, WANTED, and_(Rule.kind == WANTED.c.kind, Rule.field == WANTED.c.field))
    .outerjoin(HELD, true())
    .outerjoin(RESERVATION, true())
    .where(Rule.tenant_id == TENANT)
)


@dataclass(frozen=True)
class Held:
    """A key that somebody holds. holder_name: masked."""

    key: Key
    subject_id: str
    reservation_id: str
    holder_name: str
    since: datetime


def rules(tx: Transaction) -> Sequence[Rule]:
    """Return the tenant's rules by kind and field; the first look lays down the presets."""
    found = tx.session.scalars(RULES, {"tenant_id": tx.tenant.id}).all()
    if len(found) >= len(PRESET_RULES):
        return found
    lay_down_rules(tx)
    return tx.session.scalars(RULES, {"tenant_id": tx.tenant.id}).all()


def suspicion(tx: Transaction) -> SuspicionSettings:
    """Return the tenant's windows, thresholds and weights, or the presets."""
    return suspicion_from(tx.session.scalar(SETTINGS, {"tenant_id": tx.tenant.id}) or {})


def begin_reserving(tx: Transaction) -> bool:
    """Keep the tenant's rules as they are until this transaction ends; any number may do so at once.

    Tell whether settling wakes by itself: any settle time lies ahead, and it sleeps no longer than until the last of
    them. Asked before our own reservation is there.
    """
    ((_, will_wake),) = BEGIN_RESERVING.rows(
        tx, {"tenant_id": tx.tenant.id, "lock": _rules_lock(tx), "now": tx.now}
    )
    return bool(will_wake)


def insert_reservation(tx: Transaction, reservation: Mapping[str, Any]) -> bool:
    """Add a reservation; false when one of its id is there. Waits for a simultaneous one to commit."""
    return bool(RESERVING.rows(tx, {"tenant_id": tx.tenant.id, **reservation}))


def await_rules(tx: Transaction) -> None:
    """Wait until everybody who goes by the rules has committed, and hold off the others.

    A rule that comes on after this finds all records that were made under the rules before.
    """
    tx.session.execute(select(func.pg_advisory_xact_lock(_rules_lock(tx))))


def lock_scans(tx: Transaction) -> None:
    """One at a time begins a scan of a tenant."""
    key = int.from_bytes(blake2b(f"scans {tx.tenant.id}".encode(), digest_size=8).digest(), signed=True)
    tx.session.execute(select(func.pg_advisory_xact_lock(key)))


def _rules_lock(tx: Transaction) -> int:
    return int.from_bytes(blake2b(f"rules {tx.tenant.id}".encode(), digest_size=8).digest(), signed=True)


def lay_down_rules(tx: Transaction) -> None:
    """Add the preset rules that the tenant does not have yet."""
    rows = [
        {
            "tenant_id": tx.tenant.id,
            "kind": kind,
            "field": field,
            "rule_id": derive_id(tx.tenant.id, kind, field),
            "active": active,
            "verdict": Verdict.LIST if field == RuleField.SIMILAR else Verdict.BLOCK,
            "threshold": Weights.near if field == RuleField.SIMILAR else None,
            "version": 1,
        }
        for (kind, field), active in PRESET_RULES.items()
    ]
    tx.session.execute(insert(Rule).values(rows).on_conflict_do_nothing())


@dataclass(frozen=True)
class Active:
    """The rules that hold at an entrance. similar_from: score in bits, None when that rule is off.

    verdicts: by kind and field of each rule of equal keys. noted: kind and field of every key that is kept. evidence:
    what it is worth.
    """

    verdicts: Mapping[tuple[str, str], Verdict]
    noted: frozenset[tuple[str, str]]
    similar_from: float | None
    similar_verdict: Verdict | None
    evidence: Evidence

    @property
    def asked(self) -> Collection[tuple[str, str]]:
        """Kind and field of every key that is looked at."""
        return self.verdicts.keys()

    def of(self, key: Key) -> Verdict | None:
        """Return what follows when somebody else holds a key, None when nothing does."""
        return self.verdicts.get((key.kind, key.field))


def active_rules(tx: Transaction, entrance: Entrance = Entrance.FORM) -> Active:
    """Return the rules that hold for what comes in by an entrance."""
    return rules_and_holders(tx, entrance, ())[0]


def rules_and_holders(
    tx: Transaction, entrance: Entrance, keys: Collection[Key]
) -> tuple[Active, list[Held]]:
    """Return the rules that hold for what comes in by an entrance, and who holds the keys that they look at."""
    rules, rows = _rules_and_holders(tx, keys)
    if len(rules) < len(PRESET_RULES):
        lay_down_rules(tx)
        rules, rows = _rules_and_holders(tx, keys)
    active = _active(rules, entrance)
    return active, [held for held in _held(rows) if active.of(held.key)]


def _rules_and_holders(
    tx: Transaction, keys: Collection[Key]
) -> tuple[list[ActiveRule], list[tuple[Any, ...]]]:
    """Return all rules, and what `HOLDER` has of each key that is held."""
    found = ACTIVE_RULES.rows(tx, _wanted(tx, keys))
    own = len(ActiveRule._fields)
    rules = {row[:2]: ActiveRule(*row[:own]) for row in found}
    # Without a holder its columns are empty.
    return list(rules.values()), [row[own:] for row in found if row[-1]]


def _active(found: Sequence[ActiveRule], entrance: Entrance) -> Active:
    here = [rule for rule in found if rule.active and (not rule.entrances or entrance in rule.entrances)]
    similar = next((rule for rule in here if rule.field == RuleField.SIMILAR), None)
    return Active(
        verdicts={
            (rule.kind, rule.field): Verdict(rule.verdict) for rule in here if rule.field != RuleField.SIMILAR
        },
        noted=ALWAYS_NOTED | {(rule.kind, rule.field) for rule in found if rule.active},
        similar_from=similar.threshold if similar else None,
        similar_verdict=Verdict(similar.verdict) if similar else None,
        evidence=suspicion_from(found[0].settings or {}).evidence,
    )


def take_keys(tx: Transaction, reservation_id: str, wanted: Mapping[Key, str]) -> list[Held]:
    """Take the keys that are free and return who holds the others.

    wanted: the subject's id by key. Waits for a simultaneous taker or giver of the same key to commit. Rows are
    inserted in the order of the keys, the same for everybody, so two writers never wait for each other.
    """
    missing = sorted(wanted)
    held: list[Held] = []
    while missing:
        rows = [
            {
                "tenant_id": tx.tenant.id,
                "kind": key.kind,
                "field": key.field,
                "digest": key.digest,
                "subject_id": wanted[key],
                "reservation_id": reservation_id,
            }
            for key in missing
        ]
        got = {_key(*taken) for taken in TAKING.rows(tx, {"rows": as_rows(rows)})}
        held += holders(tx, [key for key in missing if key not in got])
        # What was neither free nor is held now was given back between the two statements: try again.
        known = got | {item.key for item in held}
        missing = [key for key in missing if key not in known]
    return held


def holders(tx: Transaction, keys: Collection[Key]) -> list[Held]:
    """Return who holds these keys, in the order of the keys."""
    if not keys:
        return []
    return _held(HOLDERS.rows(tx, _wanted(tx, keys)))


def _wanted(tx: Transaction, keys: Collection[Key]) -> dict[str, str]:
    return {
        "tenant_id": tx.tenant.id,
        "kinds": array_text(key.kind.value for key in keys),
        "fields": array_text(key.field.value for key in keys),
        "digests": array_text(f'"\\\\x{key.digest.hex()}"' for key in keys),
    }


def _held(rows: Iterable[tuple[Any, ...]]) -> list[Held]:
    """Return rows of `HOLDER`, in the order of the keys."""
    found = [Held(_key(kind, field, digest), *rest) for kind, field, digest, *rest in rows]
    return sorted(found, key=lambda item: item.key)


def _key(kind: str, field: str, digest: bytes) -> Key:
    return Key(SubjectKind(kind), RuleField(field), digest)


def due_reservations(tx: Transaction, limit: int) -> Sequence[str]:
    """Return ids of unconfirmed reservations whose settle time has come, the oldest first."""
    return tx.session.scalars(
        select(Reservation.reservation_id)
        .where(
            Reservation.tenant_id == tx.tenant.id,
            Reservation.state == ReservationState.RESERVED,
            Reservation.settle_time <= tx.now,
        )
        .order_by(Reservation.settle_time)
        .limit(limit)
    ).all()


def next_settle_time(tx: Transaction) -> datetime | None:
    """Return when settling must look again, None when no settle time lies ahead.

    That is the first one of an unconfirmed reservation, else the last one of all: `begin_reserving` counts on
    it, so that not every reservation has to wake the workflow.
    """
    first, last = tx.session.execute(
        select(
            func.min(Reservation.settle_time).filter(Reservation.state == ReservationState.RESERVED),
            func.max(Reservation.settle_time),
        ).where(Reservation.tenant_id == tx.tenant.id, Reservation.settle_time > tx.now)
    ).one()
    return first or last
