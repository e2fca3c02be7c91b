"""Scans over the whole base, the review of what they find, and rules tried before they are switched on."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
from sqlalchemy import select

from services.chassis.db import Store, Transaction
from services.chassis.errors import NotFound, RuleViolation
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.dedupe.domain.keys import RuleField, Subject, SubjectKind
from services.dedupe.domain.pairs import PairState
from services.dedupe.store import queries
from services.dedupe.store.tables import DuplicatePair
from services.dedupe.usecases import scans
from services.dedupe.usecases.batches import Wanted, reserve_batch
from services.dedupe.usecases.merges import follow_merge
from services.dedupe.usecases.trials import Trial, try_rule

Result = TypeVar("Result")
NAMES = (
    "成都知品科技有限公司",
    "知品科技（成都）公司",
    "成都知品科技",
    "沈阳北方机械厂",
    "上海康平实业有限公司",
)


def run(store: Store, tenant: Tenant, work: Callable[[Transaction], Result]) -> Result:
    """Do something in a transaction of its own."""
    with store.transaction(tenant) as tx:
        return work(tx)


def with_customers(store: Store, tenant: Tenant, *names: str) -> dict[str, str]:
    """Store customers; return their ids by name."""
    ids = {name: new_id() for name in names}
    wanted = [Wanted(new_id(), (Subject(SubjectKind.CUSTOMER, ids[name], name, ()),)) for name in names]
    results = run(store, tenant, lambda tx: reserve_batch(tx, wanted, "", "王小明"))
    assert not any(results.values())
    return ids


def scan(store: Store, tenant: Tenant, limit: int = 2) -> None:
    """Scan to the end, each batch in a transaction of its own."""
    scan_id = run(store, tenant, scans.start_scan).scan_id
    while run(store, tenant, lambda tx: scans.scan_batch(tx, scan_id, limit)):
        pass


def groups(store: Store, tenant: Tenant, state: PairState = PairState.OPEN) -> list[set[str]]:
    """Return the names in each group."""
    found = run(store, tenant, lambda tx: scans.list_groups(tx, state, "", 10))
    return [{row.name for row in group.customers} for group in found]


def test_a_scan_groups_the_whole_base_and_a_dismissed_pair_never_comes_back(
    store: Store, main_tenant: Tenant
) -> None:
    """F166."""
    ids = with_customers(store, main_tenant, *NAMES)
    scan(store, main_tenant)
    assert groups(store, main_tenant) == [set(NAMES[:3])]
    one, other = ids[NAMES[0]], ids[NAMES[2]]
    decided = run(store, main_tenant, lambda tx: scans.decide_pair(tx, other, one, same=False))
    assert decided.state == PairState.DISMISSED
    scan(store, main_tenant, limit=100)
    assert run(
        store,
        main_tenant,
        lambda tx: tx.session.scalars(
            select(DuplicatePair.state).where(
                DuplicatePair.tenant_id == main_tenant.id,
                DuplicatePair.low == min(one, other),
                DuplicatePair.high == max(one, other),
            )
        ).all(),
    ) == [PairState.DISMISSED]
    pairs = [
        pair
        for group in run(store, main_tenant, lambda tx: scans.list_groups(tx, PairState.OPEN, "", 10))
        for pair in group.pairs
    ]
    assert {one, other} not in [{pair.low, pair.high} for pair in pairs]
    with pytest.raises(RuleViolation):
        run(store, main_tenant, lambda tx: scans.decide_pair(tx, one, other, same=True))
    with pytest.raises(NotFound):
        run(store, main_tenant, lambda tx: scans.decide_pair(tx, one, new_id(), same=True))


def test_one_scan_runs_at_a_time_and_goes_on_where_a_crash_left_it(store: Store, main_tenant: Tenant) -> None:
    """Dead before the commit a batch is done again, dead behind it the next one is: nobody is left out."""
    with_customers(store, main_tenant, *NAMES)
    scan_id = run(store, main_tenant, scans.start_scan).scan_id
    with pytest.raises(RuleViolation):
        run(store, main_tenant, scans.start_scan)
    assert run(store, main_tenant, lambda tx: scans.scan_batch(tx, scan_id, 2))

    def die(tx: Transaction) -> None:
        scans.scan_batch(tx, scan_id, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, main_tenant, die)
    while run(store, main_tenant, lambda tx: scans.scan_batch(tx, scan_id, 2)):
        pass
    assert not run(store, main_tenant, lambda tx: scans.scan_batch(tx, scan_id, 2))
    ended = run(store, main_tenant, scans.last_scan)
    assert ended is not None
    assert (ended.scanned, ended.finish_time is not None) == (len(NAMES), True)
    assert groups(store, main_tenant) == [set(NAMES[:3])]


def test_a_merged_pair_leaves_the_queue_and_comes_back_with_the_undo(
    store: Store, main_tenant: Tenant
) -> None:
    ids = with_customers(store, main_tenant, *NAMES[:2])
    scan(store, main_tenant)
    survivor, merged = ids[NAMES[0]], ids[NAMES[1]]
    merge_id = new_id()
    run(store, main_tenant, lambda tx: follow_merge(tx, merge_id, survivor, merged, undo=False))
    assert groups(store, main_tenant) == []
    scan(store, main_tenant)
    assert groups(store, main_tenant) == []
    run(store, main_tenant, lambda tx: follow_merge(tx, merge_id, survivor, merged, undo=True))
    assert groups(store, main_tenant, PairState.CONFIRMED) == [set(NAMES[:2])]


def test_a_rule_says_what_it_would_have_caught_last_month(store: Store, main_tenant: Tenant) -> None:
    """F147: before it is switched on."""
    code = "91350100M000100Y43"
    subjects = [
        Subject(SubjectKind.CUSTOMER, new_id(), name, (), code if place < 2 else "")
        for place, name in enumerate(("甲科技有限公司", "乙贸易有限公司", "丙机械厂"))
    ]
    for subject in subjects:
        wanted = [Wanted(new_id(), (subject,))]
        run(store, main_tenant, partial(reserve_batch, wanted=wanted, holder_id="", holder_name="王小明"))
    with_customers(store, main_tenant, *NAMES[:2])

    def tried(field: RuleField) -> Trial:
        def work(tx: Transaction) -> Trial:
            rule = next(
                rule for rule in queries.rules(tx) if (rule.kind, rule.field) == (SubjectKind.CUSTOMER, field)
            )
            return try_rule(tx, rule.rule_id, None)

        return run(store, main_tenant, work)

    by_code = tried(RuleField.CREDIT_CODE)
    assert (by_code.caught, by_code.tried, list(by_code.examples)) == (1, 5, ["乙贸易有限公司"])
    # The equal code, and the names that are alike.
    assert tried(RuleField.SIMILAR).caught == 2
    assert tried(RuleField.NAME).caught == 0
