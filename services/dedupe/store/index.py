"""The match index: who could be whom, found by hashed grams under GIN.

It is written in the transaction that takes the keys, so that whoever asks next, at whichever replica, finds it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from rapidfuzz import process
from rapidfuzz.distance import Indel
from sqlalchemy import func, select, text

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction
from services.dedupe.domain.keys import Subject, SubjectKind, digest_of
from services.dedupe.matching.grams import exact_gram, name_grams, rarest, tenant_seed
from services.dedupe.matching.normalise import fold, normalise
from services.dedupe.matching.similarity import SOUND_DISCOUNT
from services.dedupe.matching.weights import Frequencies, Match, Record, Verdict, Weights, compare
from services.dedupe.store.tables import GramCount, GramCounting, MatchRecord
from services.kernel.masking import mask_name

# Rows that the lists of the grams asked for may have together, by count.
BUDGET = 1000
# Rows that are looked at, whatever the counts said.
MOST_CANDIDATES = 3000
# Candidates by name that are compared field by field.
COMPARED = 40
# Records with the same phone or code that are compared.
MOST_EXACT = 50
# Records that grams are counted over; more say the same.
SAMPLE = 50_000
# A gram with fewer records than this is rare and not noted.
RARE = 50
# Characters of a name that a query begins with, as good as the whole name.
PREFIX_LIKENESS = 0.9


@dataclass(frozen=True)
class Found:
    """A customer that a probe might be."""

    customer_id: str
    owner_id: str | None
    holder_name: str
    match: Match
    row: MatchRecord


def add(
    tx: Transaction,
    reservations: Sequence[tuple[str, Sequence[Subject]]],
    holder_id: str,
    holder_name: str,
) -> None:
    """Add the subjects of reservations; a subject that was there before changes its row."""
    seed = tenant_seed(tx.tenant.id)
    rows = {}
    for reservation_id, subjects in reservations:
        customer = next((subject.id for subject in subjects if subject.kind == SubjectKind.CUSTOMER), "")
        for subject in subjects:
            phones = sorted({digest_of(phone) for phone in subject.phones})
            credit_code = digest_of(subject.credit_code)
            is_customer = subject.kind == SubjectKind.CUSTOMER
            name = normalise(subject.name if is_customer else "")
            rows[subject.id] = {
                "tenant_id": tx.tenant.id,
                "subject_id": subject.id,
                "kind": subject.kind,
                "customer_id": subject.customer_id or customer or subject.id,
                "reservation_id": reservation_id,
                "name": subject.name,
                "core": name.core,
                "sound": name.sound,
                "phones": phones,
                "credit_code": credit_code,
                "address": subject.address,
                "grams": [*name_grams(seed, name), *exact_grams(seed, phones, credit_code)],
                "owner_id": holder_id or None,
                "holder_name": mask_name(holder_name),
                "create_time": tx.now,
            }
    ordered = sorted(rows.values(), key=lambda row: str(row["subject_id"]))
    if not ordered:
        return
    statement = insert_rows(MatchRecord, ordered)
    changed = {
        name: statement.excluded[name] for name in ordered[0] if name not in ("tenant_id", "subject_id")
    }
    tx.session.execute(
        statement.on_conflict_do_update(
            index_elements=[MatchRecord.tenant_id, MatchRecord.subject_id], set_=changed
        )
    )


def exact_grams(seed: int, phones: Collection[bytes], credit_code: bytes) -> list[int]:
    """Return the grams of phones and code."""
    grams = [exact_gram(seed, "phone", phone) for phone in phones]
    return [*grams, exact_gram(seed, "credit_code", credit_code)] if credit_code else grams


def find(tx: Transaction, probe: Record, weights: Weights, limit: int, besides: str = "") -> list[Found]:
    """Return the customers that a probe might be, the likeliest first. besides: a customer that is left out."""
    seed = tenant_seed(tx.tenant.id)
    by_name = _by_name(tx, seed, probe)
    by_value = _by_value(tx, exact_grams(seed, probe.phones, probe.credit_code))
    ids = ({*by_name, *by_value}) - {besides}
    if not ids:
        return []
    customers: dict[str, MatchRecord] = {}
    contacts: dict[str, list[MatchRecord]] = {}
    for row in tx.session.scalars(
        select(MatchRecord).where(MatchRecord.tenant_id == tx.tenant.id, MatchRecord.customer_id.in_(ids))
    ):
        if row.kind == SubjectKind.CUSTOMER:
            customers[row.customer_id] = row
        else:
            contacts.setdefault(row.customer_id, []).append(row)
    records = {
        customer_id: _record(row, contacts.get(customer_id, ())) for customer_id, row in customers.items()
    }
    frequencies = Frequencies(
        records=max(_records(tx), 1000),
        phones={phone: sum(phone in record.phones for record in records.values()) for phone in probe.phones},
        names=sum(record.name.core == probe.name.core for record in records.values()),
    )
    found = []
    for customer_id, record in records.items():
        match = compare(probe, record, frequencies, weights)
        if match.verdict is not Verdict.DIFFERENT:
            row = customers[customer_id]
            found.append(Found(customer_id, row.owner_id, row.holder_name, match, row))
    return sorted(found, key=lambda item: (-item.match.score, item.customer_id))[:limit]


def look_up(tx: Transaction, query: str, limit: int) -> Sequence[MatchRecord]:
    """Return customers with a keyword in their names, or nearly so, the best first (F164)."""
    folded = fold(query)
    core = normalise(query).core
    grams = name_grams(
        tenant_seed(tx.tenant.id), replace(normalise(""), core=core, sound=normalise(core).sound)
    )
    rows = tx.session.scalars(
        select(MatchRecord)
        .where(
            MatchRecord.tenant_id == tx.tenant.id,
            MatchRecord.kind == SubjectKind.CUSTOMER,
            MatchRecord.grams.overlap(_picked(tx, grams)),
        )
        .limit(MOST_CANDIDATES)
    ).all()

    def likeness(row: MatchRecord) -> float:
        whole = fold(row.name)
        return 2.0 if folded in whole else Indel.normalized_similarity(core, row.core)

    scored = sorted(((likeness(row), row) for row in rows), key=lambda item: (-item[0], item[1].subject_id))
    return [row for score, row in scored if score >= 0.5][:limit]


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
    """Count grams anew, over a sample, when records have come since the last time; tell whether it was done."""
    last = tx.session.get(GramCounting, tx.tenant.id)
    fresh = select(MatchRecord.subject_id).where(MatchRecord.tenant_id == tx.tenant.id).limit(1)
    if last:
        fresh = fresh.where(MatchRecord.create_time > last.count_time)
    if tx.session.scalar(fresh) is None:
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


def _by_name(tx: Transaction, seed: int, probe: Record) -> list[str]:
    """Return the customers whose names are nearest to the probe's."""
    grams = name_grams(seed, probe.name)
    if not grams:
        return []
    asked = (
        select(MatchRecord.customer_id, MatchRecord.core, MatchRecord.sound)
        .where(MatchRecord.tenant_id == tx.tenant.id, MatchRecord.grams.overlap(_picked(tx, grams)))
        .limit(MOST_CANDIDATES)
    )
    rows = tx.session.execute(asked).all()
    core = probe.name.core
    best: dict[int, float] = {}
    for place, column in ((1, core), (2, probe.name.sound)):
        values = [row[place] for row in rows]
        for _, score, index in process.extract(
            column, values, scorer=Indel.normalized_similarity, limit=COMPARED, processor=None
        ):
            weighed = score if place == 1 else SOUND_DISCOUNT * score
            best[index] = max(best.get(index, 0.0), weighed)
    for index, row in enumerate(rows):
        if row.core.startswith(core):
            best[index] = max(best.get(index, 0.0), PREFIX_LIKENESS)
    ranked = sorted(best, key=lambda index: -best[index])[:COMPARED]
    return [rows[index].customer_id for index in ranked]


def _by_value(tx: Transaction, grams: Sequence[int]) -> Sequence[str]:
    if not grams:
        return []
    return tx.session.scalars(
        select(MatchRecord.customer_id)
        .where(MatchRecord.tenant_id == tx.tenant.id, MatchRecord.grams.overlap(list(grams)))
        .limit(MOST_EXACT)
    ).all()


def _picked(tx: Transaction, grams: Sequence[int]) -> list[int]:
    counts = tx.session.execute(
        select(GramCount.gram, GramCount.count).where(
            GramCount.tenant_id == tx.tenant.id, GramCount.gram.in_(grams)
        )
    )
    return rarest(grams, dict(counts.all()), BUDGET)


def _records(tx: Transaction) -> int:
    counting = tx.session.get(GramCounting, tx.tenant.id)
    return counting.records if counting else 0


def _record(row: MatchRecord, contacts: Sequence[MatchRecord]) -> Record:
    return Record(
        name=normalise(row.name),
        phones=frozenset((*row.phones, *(phone for contact in contacts for phone in contact.phones))),
        credit_code=row.credit_code,
        contacts=frozenset(fold(contact.name) for contact in contacts),
        address=row.address,
    )
