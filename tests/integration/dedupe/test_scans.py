"""Scans over the whole base, the review of what they find, and rules tried before they are switched on."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
from sqlalchemy import select

from services.chassis.db import Store, Transaction
from services.chassis.errors import AlreadyExists, NotFound, RuleViolation
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.dedupe.domain.keys import RuleField, Subject, SubjectKind
from services.dedupe.domain.pairs import PairState
from services.dedupe.domain.rules import Entrance, Verdict
from services.dedupe.store import queries
from services.dedupe.store.tables import DuplicatePair
from services.dedupe.usecases import scans
from services.dedupe.usecases.batches import Wanted, reserve_batch
from services.dedupe.usecases.matching import check_duplicates
from services.dedupe.usecases.merges import follow_merge
from services.dedupe.usecases.reservations import cancel, reserve_keys
from services.dedupe.usecases.rules import update_rule
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


def with_verdict(store: Store, tenant: Tenant, kind: SubjectKind, field: RuleField, verdict: Verdict) -> None:
    """Let something follow from a rule."""

    def change(tx: Transaction) -> None:
        (rule,) = [rule for rule in queries.rules(tx) if (rule.kind, rule.field) == (kind, field)]
        update_rule(tx, rule.rule_id, True, verdict)

    run(store, tenant, change)


def create(store: Store, tenant: Tenant, reservation_id: str, *subjects: Subject) -> None:
    """Take the keys of what is about to be written."""
    run(store, tenant, lambda tx: reserve_keys(tx, reservation_id, subjects, "", "王小明"))


def test_a_rule_that_asks_for_a_review_lets_the_create_go_on_and_a_person_decides(
    store: Store, main_tenant: Tenant
) -> None:
    """F147, F159: of equal keys and of similarity; what was dismissed does not come back with a scan."""
    ids = with_customers(store, main_tenant, NAMES[0], NAMES[3])
    with_verdict(store, main_tenant, SubjectKind.CUSTOMER, RuleField.NAME, Verdict.REVIEW)
    with_verdict(store, main_tenant, SubjectKind.CUSTOMER, RuleField.SIMILAR, Verdict.REVIEW)
    same, near = new_id(), new_id()
    create(store, main_tenant, new_id(), Subject(SubjectKind.CUSTOMER, same, NAMES[3], ()))
    create(store, main_tenant, new_id(), Subject(SubjectKind.CUSTOMER, near, NAMES[1], ()))
    found = run(store, main_tenant, lambda tx: scans.list_groups(tx, PairState.OPEN, "", 10))
    pairs = [pair for group in found for pair in group.pairs]
    assert {(pair.low, pair.high) for pair in pairs} == {
        (min(ids[NAMES[3]], same), max(ids[NAMES[3]], same)),
        (min(ids[NAMES[0]], near), max(ids[NAMES[0]], near)),
    }
    assert all(pair.reasons for pair in pairs)
    run(store, main_tenant, lambda tx: scans.decide_pair(tx, same, ids[NAMES[3]], same=False))
    run(store, main_tenant, lambda tx: scans.decide_pair(tx, near, ids[NAMES[0]], same=True))
    scan(store, main_tenant)
    assert groups(store, main_tenant) == []


def test_a_contacts_number_is_reviewed_as_their_customers(store: Store, main_tenant: Tenant) -> None:
    """F150: of the customer that the other contact belongs to."""
    phone = ("+8613800138000",)
    with_verdict(store, main_tenant, SubjectKind.CONTACT, RuleField.PHONE, Verdict.REVIEW)
    one, other = new_id(), new_id()
    for customer_id, name in ((one, NAMES[3]), (other, NAMES[4])):
        contact = Subject(SubjectKind.CONTACT, new_id(), "张三", phone)
        create(store, main_tenant, new_id(), Subject(SubjectKind.CUSTOMER, customer_id, name, ()), contact)
    assert groups(store, main_tenant) == [{NAMES[3], NAMES[4]}]


def test_a_create_that_never_happened_leaves_nothing_to_review(store: Store, main_tenant: Tenant) -> None:
    """Decision 2: the writer died and was asked; its pair goes with its keys, and a decided one stays."""
    ids = with_customers(store, main_tenant, NAMES[3])
    with_verdict(store, main_tenant, SubjectKind.CUSTOMER, RuleField.NAME, Verdict.REVIEW)
    reservation, died = new_id(), new_id()
    create(store, main_tenant, reservation, Subject(SubjectKind.CUSTOMER, died, NAMES[3], ()))
    create(store, main_tenant, new_id(), Subject(SubjectKind.CUSTOMER, lives := new_id(), NAMES[3], ()))
    run(store, main_tenant, lambda tx: cancel(tx, reservation))
    found = run(store, main_tenant, lambda tx: scans.list_groups(tx, PairState.OPEN, "", 10))
    pairs = {frozenset((pair.low, pair.high)) for group in found for pair in group.pairs}
    assert pairs == {frozenset((lives, ids[NAMES[3]]))}


def test_an_imports_rows_are_reviewed_among_themselves_too(store: Store, main_tenant: Tenant) -> None:
    """F147: of one file two rows may hit each other."""
    with_verdict(store, main_tenant, SubjectKind.CUSTOMER, RuleField.NAME, Verdict.REVIEW)
    wanted = [Wanted(new_id(), (Subject(SubjectKind.CUSTOMER, new_id(), NAMES[3], ()),)) for _ in range(2)]
    results = run(store, main_tenant, lambda tx: reserve_batch(tx, wanted, "", "王小明"))
    assert not any(results.values())
    assert len(groups(store, main_tenant)) == 1


@pytest.mark.parametrize(
    ("name", "similar", "expected"),
    [
        (Verdict.BLOCK, Verdict.REVIEW, Verdict.BLOCK),
        (Verdict.LIST, Verdict.REVIEW, Verdict.REVIEW),
        (Verdict.REVIEW, Verdict.LIST, Verdict.REVIEW),
        (Verdict.REVIEW, Verdict.BLOCK, Verdict.BLOCK),
        (Verdict.LIST, Verdict.LIST, Verdict.LIST),
    ],
)
def test_of_several_hits_the_strongest_verdict_counts(
    store: Store, main_tenant: Tenant, name: Verdict, similar: Verdict, expected: Verdict
) -> None:
    """O2: block, then review, then list; the create does what the check said."""
    with_customers(store, main_tenant, NAMES[0])
    with_verdict(store, main_tenant, SubjectKind.CUSTOMER, RuleField.NAME, name)
    with_verdict(store, main_tenant, SubjectKind.CUSTOMER, RuleField.SIMILAR, similar)
    again = Subject(SubjectKind.CUSTOMER, new_id(), NAMES[0], ())
    check = run(store, main_tenant, lambda tx: check_duplicates(tx, again, (), Entrance.FORM))
    assert check.verdict == expected
    if expected is Verdict.BLOCK:
        with pytest.raises(AlreadyExists):
            create(store, main_tenant, new_id(), again)
    else:
        create(store, main_tenant, new_id(), again)
    assert len(groups(store, main_tenant)) == (expected is Verdict.REVIEW)
