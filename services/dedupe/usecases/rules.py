"""Look at the rules and change them."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import not_found
from services.dedupe.domain.evidence import weights_of
from services.dedupe.domain.keys import RuleField
from services.dedupe.domain.rules import Entrance, Verdict, check_threshold, check_width
from services.dedupe.store import index, queries
from services.dedupe.store.tables import Backfill, Clash, MatchRecord, Rule
from services.dedupe.workflows.contracts import QUEUE, SETTLE, WAKE, SettleTenant, settle_workflow_id

# Customers that a new threshold is tried on.
TRIED = 100
# Before every subject's id.
FIRST = "00000000-0000-0000-0000-000000000000"
MOST_CLASHES = 1000


def list_rules(tx: Transaction) -> Sequence[Rule]:
    """Return the tenant's rules by kind and field."""
    return queries.rules(tx)


def update_rule(
    tx: Transaction,
    rule_id: str,
    active: bool,
    verdict: Verdict | None = None,
    threshold: float | None = None,
    entrances: Sequence[Entrance] | None = None,
) -> Rule:
    """Change a rule; it holds from the next reservation. What is None stays as it is.

    A rule of equal keys that comes on keys what is there (`usecases.backfill`); it waits for reservations under way,
    so none is left out. Raises NotFound RULE_NOT_FOUND, InvalidInput THRESHOLD_UNFIT or THRESHOLD_OUT_OF_RANGE,
    RuleViolation RULE_TOO_WIDE.
    """
    queries.await_rules(tx)
    queries.lay_down_rules(tx)
    rule = tx.session.scalar(
        select(Rule).where(Rule.tenant_id == tx.tenant.id, Rule.rule_id == rule_id).with_for_update()
    )
    if rule is None:
        raise not_found("rule", "查重规则", rule_id)
    before = (rule.active, rule.verdict, rule.threshold, list(rule.entrances))
    if threshold is not None:
        rule.threshold = check_threshold(rule.field, threshold)
        check_width(*_tried(tx, threshold))
    if verdict is not None:
        rule.verdict = verdict
    if entrances is not None:
        rule.entrances = sorted(set(entrances))
    rule.active = active
    if (rule.active, rule.verdict, rule.threshold, list(rule.entrances)) != before:
        rule.version += 1
        if active and not before[0] and rule.field != RuleField.SIMILAR:
            _start_backfill(tx, rule)
    return rule


def list_clashes(tx: Transaction, rule_id: str) -> tuple[list[tuple[Clash, str, str]], bool]:
    """Return what breaks a rule, with both records' names, and whether all records were looked at.

    Raises NotFound RULE_NOT_FOUND.
    """
    rule = tx.session.scalar(select(Rule).where(Rule.tenant_id == tx.tenant.id, Rule.rule_id == rule_id))
    if rule is None:
        raise not_found("rule", "查重规则", rule_id)
    clashes = tx.session.scalars(
        select(Clash)
        .where(Clash.tenant_id == tx.tenant.id, Clash.kind == rule.kind, Clash.field == rule.field)
        .order_by(Clash.create_time, Clash.subject_id)
        .limit(MOST_CLASHES)
    ).all()
    ids = {id_ for clash in clashes for id_ in (clash.subject_id, clash.holder_subject_id)}
    names = {
        row.subject_id: row.name
        for row in tx.session.execute(
            select(MatchRecord.subject_id, MatchRecord.name).where(
                MatchRecord.tenant_id == tx.tenant.id, MatchRecord.subject_id.in_(ids)
            )
        )
    }
    unfinished = tx.session.get(Backfill, (tx.tenant.id, rule.kind, rule.field))
    listed = [
        (clash, names.get(clash.subject_id, ""), names.get(clash.holder_subject_id, "")) for clash in clashes
    ]
    return listed, unfinished is None


def _start_backfill(tx: Transaction, rule: Rule) -> None:
    own = {"tenant_id": tx.tenant.id, "kind": rule.kind, "field": rule.field}
    tx.session.execute(delete(Clash).filter_by(**own))
    tx.session.execute(
        insert(Backfill)
        .values(**own, after=FIRST)
        .on_conflict_do_update(index_elements=list(own), set_={"after": FIRST})
    )
    tx.start_workflow(
        WorkflowStart(SETTLE, settle_workflow_id(tx.tenant.id), QUEUE, SettleTenant(tx.tenant), WAKE)
    )


def _tried(tx: Transaction, threshold: float) -> tuple[int, int]:
    """Return how many of the newest customers a threshold would hit, and how many it was tried on."""
    weights = weights_of(queries.suspicion(tx).evidence, threshold)
    ids = index.newest(tx, TRIED)
    hit = 0
    for customer_id in ids:
        probe = index.record_of(tx, customer_id)
        hit += probe is not None and bool(index.find(tx, probe, weights, 1, besides=customer_id))
    return hit, len(ids)
