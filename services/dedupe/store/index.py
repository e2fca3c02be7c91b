"""The match index: who could be whom, found by hashed grams under GIN.

It is written in the transaction that takes the keys, so that whoever asks next, at whichever replica, finds it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import starmap
from typing import Any, NamedTuple

from rapidfuzz.distance import Indel
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Function,
    ScalarSelect,
    Select,
    Subquery,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert
from sqlalchemy.orm import InstrumentedAttribute

from services.chassis.bulk import MANY_ROWS, array_text, as_rows, insert_rows, inserting
from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.dedupe.domain.keys import Subject, SubjectKind, digest_of, normalise_name
from services.dedupe.matching.grams import asked_grams, exact_gram, name_grams, tenant_seed
from services.dedupe.matching.normalise import Name, fold, normalise
from services.dedupe.matching.ranking import Candidates
from services.dedupe.matching.weights import (
    Frequencies,
    Match,
    Record,
    Verdict,
    Weights,
    compare,
    least_likeness,
)
from services.dedupe.store.gram_counts import KNOWN
from services.dedupe.store.tables import GramCounting, MatchRecord
from services.kernel.masking import mask_name

# The kind of a record that was merged into another one: its name still leads there.
FORMER = "former"
# Rows that are looked at, whatever the counts said.
MOST_CANDIDATES = 3000
# Records with the same phone or code that are compared.
MOST_EXACT = 50
# Records that grams are counted over; more say the same.
SAMPLE = 200_000
# A gram with fewer records than this is rare and not noted.
RARE = 10
# Grams are counted anew when so large a part of the records has come since.
FRESH_PART = 1 / 50
# Between values that come in one string; no folded name has it.
SEPARATOR = "\x1f"


# Of a subject that is not found by its name.
NAMELESS = Name("", "", "", (), "")

# Statements are made once and take lists as one parameter each: however many values, it is one statement, which the
# database plans once.
TENANT = bindparam("tenant_id", type_=Uuid(as_uuid=False))
GRAMS = ARRAY(BigInteger)


def _given(parameter: str, of: ARRAY[Any] = GRAMS) -> ScalarSelect[Any]:
    """Return a parameter, a list, as nothing that the planner looks into.

    Known to it, an empty or short list would make every plan for this one look cheaper than the plan for any: it
    planned each time, for a third of the query.
    """
    return select(bindparam(parameter, type_=of)).scalar_subquery()


def _only_by(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return a condition on the tenant's records which only an index of this condition serves, none of the tenant.

    Grams are salted by the tenant and ids are nobody else's. The planner does not know how rare a gram is, nor that a
    tenant has more records than others: it would read all that the tenant has. No index serves a comparison written so.
    """
    return and_(condition, (MatchRecord.tenant_id == TENANT).is_(true()))


def _sharing(parameter: str, most: int, *columns: InstrumentedAttribute[Any]) -> Subquery:
    """Select the customers that share one of these grams."""
    condition = MatchRecord.grams.overlap(_given(parameter))
    return select(*columns).where(_only_by(condition)).limit(most).subquery()


def _joined(value: ColumnElement[str]) -> Function[str]:
    return func.string_agg(value, literal_column(f"'{SEPARATOR}'"))


def _candidates_statement() -> Select[*tuple[Any, ...]]:
    columns = (MatchRecord.customer_id, MatchRecord.core, MatchRecord.sound, MatchRecord.regions)
    near = _sharing("grams", MOST_CANDIDATES, *columns).c
    equal = _sharing("exact", MOST_EXACT, MatchRecord.customer_id).c
    return select(
        _joined(cast(near.customer_id, Text)),
        _joined(near.core),
        _joined(near.sound),
        _joined(func.array_to_string(near.regions, literal_column("','"))),
        select(_joined(cast(equal.customer_id, Text))).scalar_subquery(),
    )


class Compared(NamedTuple):
    """What of a match record is compared, and shown of it; the columns of that name."""

    customer_id: str
    kind: str
    name: str
    whole: str
    core: str
    sound: str
    brand_length: int | None
    regions: Sequence[str]
    phones: Sequence[bytes]
    credit_code: bytes
    address: str
    owner_id: str | None
    holder_name: str
    create_time: datetime


def _compared_statement() -> Select[*tuple[Any, ...]]:
    columns, ids = [MatchRecord.__table__.c[name] for name in Compared._fields], ARRAY(Uuid(as_uuid=False))
    return select(
        *(cast(column, Text) if isinstance(column.type, Uuid) else column for column in columns)
    ).where(_only_by(MatchRecord.customer_id == any_(cast(_given("ids", ids), ids))))


CANDIDATES = DriverQuery(_candidates_statement())
COMPARED = DriverQuery(_compared_statement())


@dataclass(frozen=True)
class Found:
    """A customer that a probe might be."""

    customer_id: str
    owner_id: str | None
    holder_name: str
    match: Match
    row: Compared


def add(
    tx: Transaction,
    reservations: Sequence[tuple[str, Sequence[Subject]]],
    holder_id: str,
    holder_name: str,
) -> None:
    """Add the subjects of reservations; to one that was there before they add what is new of it.

    A further number comes without the name, a new name without the numbers: what is not said stays, and so do the
    holder and the reservation that the row came with, for only the end of that one ends it.
    """
    seed, masked = tenant_seed(tx.tenant.id), mask_name(holder_name)
    rows = {}
    for reservation_id, subjects in reservations:
        customer = next((subject.id for subject in subjects if subject.kind == SubjectKind.CUSTOMER), "")
        for subject in subjects:
            rows[subject.id] = {
                "tenant_id": tx.tenant.id,
                **compared(seed, subject),
                "customer_id": subject.customer_id or customer or subject.id,
                "reservation_id": reservation_id,
                "owner_id": holder_id or None,
                "holder_name": masked,
                "create_time": tx.now,
            }
    ordered = sorted(rows.values(), key=lambda row: str(row["subject_id"]))
    if len(ordered) >= MANY_ROWS:
        tx.session.execute(_completing(insert_rows(MatchRecord, ordered)))
    elif ordered:
        tx.session.execute(_adding(tuple(ordered[0])), {"rows": as_rows(ordered)})


@cache
def _adding(columns: tuple[str, ...]) -> Insert:
    """Return what adds the parameter `rows`, made once: every reservation pays for it."""
    return _completing(inserting(MatchRecord, columns, "rows"))


# What follows from a name, and goes with it.
OF_NAME = ("name", "whole", "core", "sound", "brand_length", "regions")


def _completing(statement: Insert) -> Insert:
    """Return an insert that completes rows that are there."""
    return statement.on_conflict_do_update(
        index_elements=[MatchRecord.tenant_id, MatchRecord.subject_id], set_=_completed(statement)
    )


def _completed(statement: Insert) -> dict[str, ColumnElement[Any]]:
    """Return the columns of a row that is there, completed by those that the statement would have inserted."""
    new, old = statement.excluded, MatchRecord.__table__.c
    by_name = {name: case((new.name == "", old[name]), else_=new[name]) for name in OF_NAME}
    # A gram too many only has a row looked at in vain. In SQL, for SQLAlchemy would list both tables in a FROM.
    both: dict[str, ColumnElement[Any]] = {
        name: literal_column(f"ARRAY(SELECT DISTINCT unnest(match_record.{name} || excluded.{name}))")
        for name in ("phones", "grams")
    }
    return {
        **by_name,
        **both,
        "credit_code": case((func.length(new.credit_code) == 0, old.credit_code), else_=new.credit_code),
        "address": case((new.address == "", old.address), else_=new.address),
        "customer_id": new.customer_id,
    }


def compared(seed: int, subject: Subject) -> dict[str, Any]:
    """Return what a subject's row holds of the subject itself. seed: the tenant's, of `tenant_seed`."""
    phones = sorted({digest_of(phone) for phone in subject.phones})
    credit_code = digest_of(subject.credit_code)
    name = normalise(subject.name) if subject.kind == SubjectKind.CUSTOMER else NAMELESS
    return {
        "subject_id": subject.id,
        "kind": subject.kind,
        "name": subject.name,
        "whole": "" if name.whole == subject.name else name.whole,
        "core": name.core,
        "sound": name.sound,
        "brand_length": len(name.brand),
        "regions": list(name.regions),
        "phones": phones,
        "credit_code": credit_code,
        "address": subject.address,
        "grams": [*name_grams(seed, name), *exact_grams(seed, phones, credit_code)],
    }


def exact_grams(seed: int, phones: Collection[bytes], credit_code: bytes) -> list[int]:
    """Return the grams of phones and code."""
    grams = [exact_gram(seed, "phone", phone) for phone in phones]
    return [*grams, exact_gram(seed, "credit_code", credit_code)] if credit_code else grams


def find(tx: Transaction, probe: Record, weights: Weights, limit: int, besides: str = "") -> list[Found]:
    """Return the customers that a probe might be, the likeliest first. besides: a customer that is left out."""
    seed = tenant_seed(tx.tenant.id)
    grams = asked_grams(seed, probe.name)
    exact = exact_grams(seed, probe.phones, probe.credit_code)
    counts = KNOWN.of(tx)
    near, equal = _candidates(tx, counts.rarest(grams), exact)
    ids = {*near.nearest(probe.name, least_likeness(probe, weights)), *equal} - {besides}
    if not ids:
        return []
    customers: dict[str, Compared] = {}
    others: dict[str, list[Compared]] = {}
    rows = COMPARED.rows(tx, {"tenant_id": tx.tenant.id, "ids": array_text(ids)})
    for row in starmap(Compared, rows):
        if row.kind == SubjectKind.CUSTOMER:
            customers[row.customer_id] = row
        else:
            others.setdefault(row.customer_id, []).append(row)
    found_records = {
        customer_id: _record(row, others.get(customer_id, ())) for customer_id, row in customers.items()
    }
    frequencies = Frequencies(
        records=max(counts.records, 1000),
        phones={
            phone: sum(phone in record.phones for record in found_records.values()) for phone in probe.phones
        },
        names=near.cores.count(probe.name.core),
    )
    found = []
    for customer_id, record in found_records.items():
        match = compare(probe, record, frequencies, weights)
        for former in others.get(customer_id, ()):
            if former.kind == FORMER:
                under = compare(probe, record._replace(name=_name(former)), frequencies, weights)
                match = max(match, under, key=lambda item: item.score)
        if match.verdict is not Verdict.DIFFERENT:
            row = customers[customer_id]
            found.append(Found(customer_id, row.owner_id, row.holder_name, match, row))
    return sorted(found, key=lambda item: (-item.match.score, item.customer_id))[:limit]


def look_up(tx: Transaction, query: str, limit: int) -> Sequence[MatchRecord]:
    """Return customers with a keyword in their names, or nearly so, the best first (F164)."""
    folded = fold(query)
    core = normalise(query).core
    grams = name_grams(tenant_seed(tx.tenant.id), NAMELESS._replace(core=core, sound=normalise(core).sound))
    rows = tx.session.scalars(
        select(MatchRecord)
        .where(
            _only_by(MatchRecord.grams.overlap(_given("grams"))),
            MatchRecord.kind.in_((SubjectKind.CUSTOMER, FORMER)),
        )
        .limit(MOST_CANDIDATES),
        {"tenant_id": tx.tenant.id, "grams": KNOWN.of(tx).rarest(grams)},
    ).all()

    def likeness(row: MatchRecord) -> float:
        whole = fold(row.name)
        return 2.0 if folded in whole else Indel.normalized_similarity(core, row.core)

    scored = sorted(((likeness(row), row) for row in rows), key=lambda item: (-item[0], item[1].subject_id))
    return [row for score, row in scored if score >= 0.5][:limit]


def namesakes(tx: Transaction, name: str) -> list[MatchRecord]:
    """Return the customers whose names are equal to this one, keys or not, the oldest first."""
    grams = name_grams(tenant_seed(tx.tenant.id), normalise(name))
    rows = tx.session.scalars(
        select(MatchRecord)
        .where(
            _only_by(MatchRecord.grams.contains(_given("grams"))), MatchRecord.kind == SubjectKind.CUSTOMER
        )
        .limit(MOST_CANDIDATES),
        {"tenant_id": tx.tenant.id, "grams": KNOWN.of(tx).rarest(grams)},
    )
    wanted = normalise_name(name)
    found = [row for row in rows if normalise_name(row.name) == wanted]
    return sorted(found, key=lambda row: (row.create_time, row.subject_id))


def record_of(tx: Transaction, customer_id: str) -> Record | None:
    """Return a customer as it is compared, None when it is not there."""
    rows = tx.session.scalars(
        select(MatchRecord).where(
            MatchRecord.tenant_id == tx.tenant.id, MatchRecord.customer_id == customer_id
        )
    ).all()
    customer = next((row for row in rows if row.kind == SubjectKind.CUSTOMER), None)
    return _record(customer, [row for row in rows if row is not customer]) if customer else None


def newest(tx: Transaction, limit: int) -> Sequence[str]:
    """Return ids of the newest customers."""
    return tx.session.scalars(
        select(MatchRecord.customer_id)
        .where(MatchRecord.tenant_id == tx.tenant.id, MatchRecord.kind == SubjectKind.CUSTOMER)
        .order_by(MatchRecord.create_time.desc())
        .limit(limit)
    ).all()


def recount(tx: Transaction) -> bool:
    """Count grams anew, over a sample, when enough records have come since the last time; tell whether it was done."""
    last = tx.session.get(GramCounting, tx.tenant.id)
    enough = max(1, int(last.records * FRESH_PART)) if last else 1
    fresh = select(MatchRecord.subject_id).where(MatchRecord.tenant_id == tx.tenant.id).limit(enough)
    if last:
        fresh = fresh.where(MatchRecord.create_time > last.count_time)
    if (tx.session.scalar(select(func.count()).select_from(fresh.subquery())) or 0) < enough:
        return False
    records = tx.session.scalar(
        select(func.count()).select_from(MatchRecord).where(MatchRecord.tenant_id == tx.tenant.id)
    )
    share = min(100.0, 100.0 * SAMPLE / max(records or 1, 1))
    tx.session.execute(
        text("DELETE FROM dedupe.gram_count WHERE tenant_id = :tenant"), {"tenant": tx.tenant.id}
    )
    tx.session.execute(
        text(
            "INSERT INTO dedupe.gram_count (tenant_id, gram, count)"
            " SELECT :tenant, gram, (count(*) * 100 / :share)::bigint"
            " FROM dedupe.match_record TABLESAMPLE BERNOULLI (:share), unnest(grams) AS gram"
            " WHERE tenant_id = :tenant GROUP BY gram HAVING count(*) * 100 / :share >= :rare"
        ),
        {"tenant": tx.tenant.id, "share": share, "rare": RARE},
    )
    tx.session.merge(GramCounting(tenant_id=tx.tenant.id, records=records or 0, count_time=tx.now))
    return True


def _candidates(tx: Transaction, grams: Sequence[int], exact: Sequence[int]) -> tuple[Candidates, list[str]]:
    """Return the customers that share a gram, and those that share a phone or the code.

    Hundreds of rows come as one, in four strings: taking them apart here costs a twentieth of so many rows.
    """
    (joined,) = CANDIDATES.rows(
        tx, {"tenant_id": tx.tenant.id, "grams": array_text(grams), "exact": array_text(exact)}
    )
    *near, equal = map(_split, joined)
    return Candidates(*near), equal


def _split(joined: str | None) -> list[str]:
    return joined.split(SEPARATOR) if joined is not None else []


def _record(row: Compared | MatchRecord, others: Sequence[Compared] | Sequence[MatchRecord]) -> Record:
    return Record(
        name=_name(row),
        phones=frozenset((*row.phones, *(phone for other in others for phone in other.phones))),
        credit_code=row.credit_code,
        contacts=frozenset(fold(row.name) for row in others if row.kind == SubjectKind.CONTACT),
        address=row.address,
    )


def _name(row: Compared | MatchRecord) -> Name:
    if row.brand_length is None:
        return normalise(row.name)
    return Name(row.whole or row.name, row.core, row.core[: row.brand_length], tuple(row.regions), row.sound)
