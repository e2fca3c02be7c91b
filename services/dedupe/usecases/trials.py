"""What a rule would have caught, before it is switched on (F147): tried on the customers of the last month."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.dedupe.domain.evidence import weights_of
from services.dedupe.domain.keys import ALWAYS_NOTED, RuleField, SubjectKind, keys_from, normalise_name
from services.dedupe.domain.rules import check_threshold
from services.dedupe.matching.grams import exact_gram, tenant_seed
from services.dedupe.matching.weights import Weights
from services.dedupe.store import index, queries
from services.dedupe.store.tables import MatchRecord, Rule

# How far back, and how many records at most: of equal keys, and of all fields weighed together.
MONTH = timedelta(days=30)
MOST_TRIED, MOST_WEIGHED = 1000, 200
# Names that are shown.
EXAMPLES = 5


@dataclass(frozen=True)
class Trial:
    """Of `tried` records of the last month the rule would have hit `caught`. examples: names of some."""

    caught: int
    tried: int
    examples: Sequence[str]


def try_rule(tx: Transaction, rule_id: str, threshold: float | None) -> Trial:
    """Try a rule on the records of the last month, the newest first; nothing is changed.

    threshold: of SIMILAR, None for its own. Raises NotFound RULE_NOT_FOUND, InvalidInput THRESHOLD_UNFIT or
    THRESHOLD_OUT_OF_RANGE.
    """
    rule = tx.session.scalar(select(Rule).where(Rule.tenant_id == tx.tenant.id, Rule.rule_id == rule_id))
    if rule is None:
        raise not_found("rule", "查重规则", rule_id)
    if threshold is not None:
        check_threshold(rule.field, threshold)
    weighed = rule.field == RuleField.SIMILAR
    rows = tx.session.scalars(
        select(MatchRecord)
        .where(
            MatchRecord.tenant_id == tx.tenant.id,
            MatchRecord.kind == rule.kind,
            MatchRecord.create_time >= tx.now - MONTH,
        )
        .order_by(MatchRecord.create_time.desc())
        .limit(MOST_WEIGHED if weighed else MOST_TRIED)
    ).all()
    if weighed:
        from_score = threshold or rule.threshold or Weights.near
        caught = [row for row in rows if _is_like_an_older_one(tx, row, from_score)]
    else:
        caught = [row for row in rows if _shares_a_key(tx, row, RuleField(rule.field))]
    return Trial(len(caught), len(rows), [row.name for row in caught[:EXAMPLES]])


def _is_like_an_older_one(tx: Transaction, row: MatchRecord, threshold: float) -> bool:
    probe = index.record_of(tx, row.customer_id)
    if probe is None:
        return False
    weights = weights_of(queries.suspicion(tx).evidence, threshold)
    found = index.find(tx, probe, weights, 5, besides=row.customer_id)
    return any(
        (item.row.create_time, item.customer_id) < (row.create_time, row.customer_id) for item in found
    )


def _shares_a_key(tx: Transaction, row: MatchRecord, field: RuleField) -> bool:
    """Tell whether another record has the same key and had it first."""
    kind = SubjectKind(row.kind)
    if (kind, field) in ALWAYS_NOTED:
        keys = keys_from(kind, row.name, row.phones, row.credit_code, {(kind, field)})
        return any(held.subject_id != row.subject_id for held in queries.holders(tx, keys))
    seed = tenant_seed(tx.tenant.id)
    if field == RuleField.CREDIT_CODE:
        exact = [exact_gram(seed, "credit_code", row.credit_code)] if row.credit_code else []
    else:
        exact = [exact_gram(seed, "phone", phone) for phone in row.phones]
    if not exact:
        return False
    names = tx.session.scalars(
        select(MatchRecord.name).where(
            MatchRecord.tenant_id == tx.tenant.id,
            MatchRecord.kind == row.kind,
            MatchRecord.subject_id != row.subject_id,
            MatchRecord.create_time <= row.create_time,
            MatchRecord.grams.overlap(exact),
        )
    ).all()
    if field == RuleField.CREDIT_CODE:
        return bool(names)
    return normalise_name(row.name) in map(normalise_name, names)
