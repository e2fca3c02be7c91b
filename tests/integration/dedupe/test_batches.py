"""Batches of reservations: the results of one after the other, in few statements; one winner among batches too."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.chassis.db import Store, Transaction
from services.chassis.errors import AlreadyExists, AppError
from services.chassis.ids import derive_id, new_id
from services.chassis.tenancy import Tenant
from services.dedupe.domain.keys import RuleField, Subject, SubjectKind
from services.dedupe.domain.pairs import PairState
from services.dedupe.domain.rules import Entrance, Verdict
from services.dedupe.usecases.batches import Wanted, check_batch, confirm_batch, reserve_batch
from services.dedupe.usecases.lookups import find_namesakes
from services.dedupe.usecases.reservations import cancel
from services.dedupe.usecases.rules import update_rule
from services.dedupe.usecases.scans import list_groups
from tests.integration.dedupe.test_reservations import held_keys, reserve, run

# Few names and numbers, so that they meet.
NAMES = st.sampled_from(["甲公司", "乙公司", "丙公司", "甲 公司"])
PHONES = st.lists(st.sampled_from(["+8613800138000", "+8613800138001", "+8613800138002"]), max_size=2)


def wanted(*names: str) -> list[Wanted]:
    """Return a reservation for a new customer of each name."""
    return [Wanted(new_id(), (Subject(SubjectKind.CUSTOMER, new_id(), name, ()),)) for name in names]


def take(store: Store, tenant: Tenant, items: list[Wanted]) -> dict[str, AppError | None]:
    """Reserve a batch for 王小明."""
    return run(store, tenant, lambda tx: reserve_batch(tx, items, "", "王小明"))


def reasons(results: dict[str, AppError | None], items: list[Wanted]) -> list[str]:
    """Return "" or the reason for each."""
    return [error.reason if (error := results[item.reservation_id]) else "" for item in items]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, PHONES), min_size=1, max_size=6), st.integers(0, 6))
def test_a_batch_gives_what_one_after_the_other_gives(
    store: Store, rows: list[tuple[str, list[str]]], before: int
) -> None:
    """F150: all keys of a reservation or none, and the first that asks gets them."""
    batch, single = Tenant(new_id(), "main"), Tenant(new_id(), "main")
    items = [
        Wanted(new_id(), (Subject(SubjectKind.CUSTOMER, new_id(), name, tuple(phones)),))
        for name, phones in rows
    ]
    expected = []
    for item in items:
        try:
            reserve(store, single, *item.subjects, reservation=item.reservation_id)
            expected.append("")
        except AlreadyExists as held:
            expected.append(held.reason)
    found = []
    for part in (items[:before], items[before:]):
        found += reasons(take(store, batch, part), part)
    assert found == expected
    assert held_keys(store, batch) == held_keys(store, single)


def test_of_two_batches_at_the_same_instant_one_wins_each_key(store: Store, main_tenant: Tenant) -> None:
    names = [f"公司{number}" for number in range(40)]
    batches = [wanted(*names), wanted(*reversed(names))]
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda items: take(store, main_tenant, items), batches))
    lists = [reasons(results, items) for results, items in zip(got, batches, strict=True)]
    for first, second in zip(lists[0], reversed(lists[1]), strict=True):
        assert sorted([first, second]) == ["", "KEY_HELD"]


def test_a_repeated_batch_gives_the_same_and_a_look_takes_nothing(store: Store, main_tenant: Tenant) -> None:
    items = wanted("甲公司", "乙公司", "甲公司")
    assert reasons(run(store, main_tenant, lambda tx: check_batch(tx, items)), items) == ["", "", "KEY_HELD"]
    assert held_keys(store, main_tenant) == 0
    for _ in range(2):
        results = take(store, main_tenant, items)
        assert reasons(results, items) == ["", "", "KEY_HELD"]
    assert "王**" in str(results[items[2].reservation_id])
    run(store, main_tenant, lambda tx: confirm_batch(tx, [item.reservation_id for item in items]))
    run(store, main_tenant, lambda tx: cancel(tx, items[0].reservation_id))
    results = take(store, main_tenant, items)
    assert reasons(results, items) == ["RESERVATION_CANCELLED", "", ""]


def test_no_look_up_has_to_read_what_waits_for_the_index_of_grams(store: Store, main_tenant: Tenant) -> None:
    """F150: the grams of a batch are put in at the end of its statement."""

    def waiting(tx: Transaction) -> int:
        """Return how many pages of grams were still to be put in."""
        waiting = text("SELECT gin_clean_pending_list('dedupe.ix_match_record_grams')")
        return tx.session.scalar(waiting) or 0

    items = wanted(*(f"云帆{number}号科技公司" for number in range(40)))
    assert set(take(store, main_tenant, items).values()) == {None}
    assert run(store, main_tenant, waiting) == 0
    assert run(store, main_tenant, lambda tx: len(find_namesakes(tx, items[7].subjects, []))) == 1


def test_the_rule_of_similarity_holds_for_imports_where_it_blocks_or_asks_for_a_review(
    store: Store, main_tenant: Tenant
) -> None:
    """F165: refused row by row, looked at beforehand too; reviewed also among the rows of one batch."""
    take(store, main_tenant, wanted("成都知品科技有限公司"))
    similar = derive_id(main_tenant.id, SubjectKind.CUSTOMER, RuleField.SIMILAR)

    def rule(verdict: Verdict, *entrances: Entrance) -> None:
        run(store, main_tenant, lambda tx: update_rule(tx, similar, True, verdict, None, entrances))

    rows = wanted("知品科技（成都）有限责任公司", "沈阳北方机械厂")
    rule(Verdict.BLOCK, Entrance.IMPORT)
    assert reasons(run(store, main_tenant, lambda tx: check_batch(tx, rows)), rows) == ["SIMILAR_EXISTS", ""]
    assert reasons(take(store, main_tenant, rows), rows) == ["SIMILAR_EXISTS", ""]
    rule(Verdict.BLOCK, Entrance.FORM)
    assert reasons(take(store, main_tenant, rows), rows) == ["", ""]

    rule(Verdict.REVIEW, Entrance.IMPORT)
    pair = wanted("大连恒达物流有限公司", "恒达物流（大连）公司")
    assert reasons(take(store, main_tenant, pair), pair) == ["", ""]
    (group,) = run(store, main_tenant, lambda tx: list_groups(tx, PairState.OPEN, "", 10))
    assert {customer.name for customer in group.customers} == {item.subjects[0].name for item in pair}
