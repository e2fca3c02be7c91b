"""Look for duplicates among all customers, batch by batch, and let people decide on what was found (F166).

A scan keeps the last customer that it has looked at in the transaction that stores what it found, so a crash loses
nothing and repeats at most one batch. A pair that was dismissed never comes back, whatever scans come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select, tuple_, update

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import RuleViolation, not_found
from services.chassis.ids import new_id
from services.dedupe.domain.evidence import weights_of
from services.dedupe.domain.keys import RuleField, SubjectKind
from services.dedupe.domain.pairs import PairState, check_decidable
from services.dedupe.matching.groups import Pair, group_pairs
from services.dedupe.matching.weights import Weights
from services.dedupe.store import index, queries
from services.dedupe.store.tables import DuplicatePair, MatchRecord, Scan
from services.dedupe.usecases.reviews import note_pairs
from services.dedupe.workflows import contracts

# Customers of one transaction: a second's work, so that the worker's life is seen between two of them.
BATCH = 25
# Duplicates of one customer that are noted.
MOST_FOUND = 10
# Before every customer's id.
FIRST = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Group:
    """Customers that are perhaps one, with the pairs between them, the likest first."""

    group_id: str
    customers: Sequence[MatchRecord]
    pairs: Sequence[DuplicatePair]


def start_scan(tx: Transaction) -> Scan:
    """Begin a scan; raises RuleViolation SCAN_RUNNING while one runs."""
    queries.lock_scans(tx)
    running = last_scan(tx)
    if running and running.finish_time is None:
        raise RuleViolation("SCAN_RUNNING", "查重扫描正在进行", "A scan is under way")
    scan = Scan(
        tenant_id=tx.tenant.id,
        scan_id=new_id(),
        after=FIRST,
        scanned=0,
        found=0,
        actor_id=tx.actor_id or None,
        create_time=tx.now,
        finish_time=None,
    )
    tx.session.add(scan)
    tx.session.flush()
    payload = contracts.ScanTenant(tx.tenant, scan.scan_id)
    tx.start_workflow(
        WorkflowStart(contracts.SCAN, contracts.scan_workflow_id(scan.scan_id), contracts.QUEUE, payload)
    )
    return scan


def last_scan(tx: Transaction) -> Scan | None:
    """Return the newest scan, None before the first."""
    return tx.session.scalars(
        select(Scan)
        .where(Scan.tenant_id == tx.tenant.id)
        .order_by(Scan.create_time.desc(), Scan.scan_id.desc())
        .limit(1)
    ).first()


def scan_batch(tx: Transaction, scan_id: str, limit: int = BATCH) -> bool:
    """Look at the next customers; tell whether there may be more. The last batch puts pairs in groups."""
    scan = tx.session.get(Scan, (tx.tenant.id, scan_id), with_for_update=True)
    if scan is None:
        raise not_found("scan", "扫描", scan_id)
    if scan.finish_time is not None:
        return False
    ids = tx.session.scalars(
        select(MatchRecord.customer_id)
        .where(
            MatchRecord.tenant_id == tx.tenant.id,
            MatchRecord.kind == SubjectKind.CUSTOMER,
            MatchRecord.subject_id > scan.after,
        )
        .order_by(MatchRecord.subject_id)
        .limit(limit)
    ).all()
    threshold = _threshold(tx)
    weights = weights_of(queries.suspicion(tx).evidence, threshold)
    for customer_id in ids:
        probe = index.record_of(tx, customer_id)
        if probe is not None:
            found = index.find(tx, probe, weights, MOST_FOUND, besides=customer_id)
            scan.found += note_pairs(tx, customer_id, {item.customer_id: item.match for item in found})
    scan.scanned += len(ids)
    if len(ids) == limit:
        scan.after = ids[-1]
        return True
    _group(tx)
    scan.finish_time = tx.now
    return False


def list_groups(tx: Transaction, state: PairState, after: str, limit: int) -> list[Group]:
    """Return groups with a pair in this state, by their id."""
    own = DuplicatePair.tenant_id == tx.tenant.id, DuplicatePair.state == state
    group_ids = tx.session.scalars(
        select(DuplicatePair.group_id)
        .where(*own, DuplicatePair.group_id > (after or FIRST))
        .distinct()
        .order_by(DuplicatePair.group_id)
        .limit(limit)
    ).all()
    pairs = tx.session.scalars(
        select(DuplicatePair)
        .where(*own, DuplicatePair.group_id.in_(group_ids))
        .order_by(DuplicatePair.score.desc(), DuplicatePair.low, DuplicatePair.high)
    ).all()
    ids = {customer_id for pair in pairs for customer_id in (pair.low, pair.high)}
    customers = {
        row.subject_id: row
        for row in tx.session.scalars(
            select(MatchRecord).where(MatchRecord.tenant_id == tx.tenant.id, MatchRecord.subject_id.in_(ids))
        )
    }
    groups = []
    for group_id in group_ids:
        mine = [pair for pair in pairs if pair.group_id == group_id]
        members = dict.fromkeys(each for pair in mine for each in (pair.low, pair.high))
        groups.append(Group(group_id, [customers[each] for each in members if each in customers], mine))
    return groups


def decide_pair(tx: Transaction, one: str, other: str, *, same: bool) -> DuplicatePair:
    """Confirm or dismiss a pair; raises NotFound PAIR_NOT_FOUND, RuleViolation PAIR_DECIDED."""
    low, high = sorted((one, other))
    pair = tx.session.get(DuplicatePair, (tx.tenant.id, low, high), with_for_update=True)
    if pair is None:
        raise not_found("pair", "疑似重复", f"{low}/{high}")
    check_decidable(pair.state)
    pair.state = PairState.CONFIRMED if same else PairState.DISMISSED
    pair.decider_id = tx.actor_id or None
    return pair


def follow_merged(tx: Transaction, survivor_id: str, merged_id: str, *, undo: bool) -> None:
    """Note that a pair was merged, or is two again; other pairs of the merged one wait no more, or wait again."""
    low, high = sorted((survivor_id, merged_id))
    own = DuplicatePair.tenant_id == tx.tenant.id
    both = own, DuplicatePair.low == low, DuplicatePair.high == high
    tx.session.execute(
        update(DuplicatePair)
        .where(*both, DuplicatePair.state != PairState.DISMISSED)
        .values(state=PairState.CONFIRMED if undo else PairState.MERGED)
    )
    others = (
        own,
        or_(DuplicatePair.low == merged_id, DuplicatePair.high == merged_id),
        DuplicatePair.state == (PairState.MERGED if undo else PairState.OPEN),
        tuple_(DuplicatePair.low, DuplicatePair.high) != (low, high),
    )
    tx.session.execute(
        update(DuplicatePair).where(*others).values(state=PairState.OPEN if undo else PairState.MERGED)
    )


def _threshold(tx: Transaction) -> float:
    found = (rule.threshold for rule in queries.rules(tx) if rule.field == RuleField.SIMILAR)
    return next(found, None) or Weights.near


def _group(tx: Transaction) -> None:
    """Put open pairs in groups; one whose two lie in different groups is reviewed by itself."""
    pairs = tx.session.scalars(
        select(DuplicatePair).where(
            DuplicatePair.tenant_id == tx.tenant.id, DuplicatePair.state == PairState.OPEN
        )
    ).all()
    ids = {customer_id for pair in pairs for customer_id in (pair.low, pair.high)}
    codes = {
        row.subject_id: row.credit_code
        for row in tx.session.execute(
            select(MatchRecord.subject_id, MatchRecord.credit_code).where(
                MatchRecord.tenant_id == tx.tenant.id,
                MatchRecord.subject_id.in_(ids),
                func.length(MatchRecord.credit_code) > 0,
            )
        )
    }
    groups = group_pairs((Pair(pair.low, pair.high, pair.score) for pair in pairs), codes)
    for pair in pairs:
        together = groups[pair.low] == groups[pair.high]
        pair.group_id = groups[pair.low] if together else max(pair.low, pair.high)
