"""Pairs of customers that wait for a person, who says whether they are one: found by a scan, or by a rule."""

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.dedupe.domain.evidence import weights_of
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.domain.pairs import PairState
from services.dedupe.matching.weights import Frequencies, Match, Verdict, Weights, compare
from services.dedupe.store import index, queries
from services.dedupe.store.index import Found
from services.dedupe.store.queries import Held
from services.dedupe.store.tables import DuplicatePair, MatchRecord


def raise_reviews(
    tx: Transaction,
    subjects: Sequence[Subject],
    held: Sequence[tuple[str, Held]],
    similar: Sequence[Found],
) -> None:
    """Let a person look at what a reservation hit by rules that ask for a review (F159); the create goes on.

    held: keys that somebody else has, each behind the id of the subject that wanted it. Of the records to be written
    the index knows already.
    """
    if not held and not similar:
        return
    customer = next((subject.id for subject in subjects if subject.kind == SubjectKind.CUSTOMER), "")
    mine = {subject.id: subject.customer_id or customer or subject.id for subject in subjects}
    theirs = _customers(tx, [item for _, item in held])
    matches: dict[str, dict[str, Match]] = {}
    if customer:
        matches[customer] = {found.customer_id: found.match for found in similar}
    for subject_id, item in held:
        one, other = mine[subject_id], theirs.get(item.subject_id)
        if other and other != one:
            of_one = matches.setdefault(one, {})
            if other not in of_one and (match := _compare(tx, one, other)):
                of_one[other] = match
    for customer_id, found in matches.items():
        note_pairs(tx, customer_id, found)


def note_pairs(tx: Transaction, customer_id: str, matches: Mapping[str, Match]) -> int:
    """Store pairs of a customer, by the other one's id; what people decided stays. Return how many are new."""
    rows = []
    for other_id, match in matches.items():
        low, high = sorted((customer_id, other_id))
        rows.append(
            {
                "tenant_id": tx.tenant.id,
                "low": low,
                "high": high,
                "state": PairState.OPEN,
                "verdict": match.verdict,
                "score": match.score,
                "reasons": [
                    {"field": reason.field, "weight": reason.weight, "zh": reason.zh, "en": reason.en}
                    for reason in match.reasons
                ],
                "group_id": low,
                "create_time": tx.now,
            }
        )
    if not rows:
        return 0
    added = insert(DuplicatePair).values(rows).on_conflict_do_nothing().returning(DuplicatePair.low)
    return len(tx.session.scalars(added).all())


def drop_reviews(tx: Transaction, subject_ids: Sequence[str]) -> None:
    """Take back what waits for records that were never written."""
    if subject_ids:
        tx.session.execute(
            delete(DuplicatePair).where(
                DuplicatePair.tenant_id == tx.tenant.id,
                DuplicatePair.state == PairState.OPEN,
                or_(DuplicatePair.low.in_(subject_ids), DuplicatePair.high.in_(subject_ids)),
            )
        )


def _customers(tx: Transaction, held: Sequence[Held]) -> dict[str, str]:
    """Return by subject whose customer it is; what the index does not know is missing."""
    rows = tx.session.execute(
        select(MatchRecord.subject_id, MatchRecord.customer_id).where(
            MatchRecord.tenant_id == tx.tenant.id,
            MatchRecord.subject_id.in_({item.subject_id for item in held}),
        )
    )
    return {row.subject_id: row.customer_id for row in rows}


def _compare(tx: Transaction, one: str, other: str) -> Match | None:
    """Return how two customers compare, at least as near: a rule says so. None when the index lacks one of them."""
    records = index.record_of(tx, one), index.record_of(tx, other)
    if records[0] is None or records[1] is None:
        return None
    weights = weights_of(queries.suspicion(tx).evidence, Weights.near)
    match = compare(records[0], records[1], Frequencies(), weights)
    return match._replace(verdict=Verdict.NEAR) if match.verdict is Verdict.DIFFERENT else match
