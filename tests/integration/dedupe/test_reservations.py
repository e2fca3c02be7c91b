"""Reservations: all keys or none, one winner, and what was cancelled never comes back."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from sqlalchemy import func, select, text

from services.chassis.db import Event, Store, Transaction
from services.chassis.errors import AlreadyExists, AppError, InvalidInput, NotFound, RuleViolation
from services.chassis.ids import derive_id, new_id
from services.chassis.tenancy import Tenant
from services.dedupe import events
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.domain.reservations import SETTLE_AFTER
from services.dedupe.store.tables import HeldKey
from services.dedupe.usecases.lookups import find_holders, find_namesakes
from services.dedupe.usecases.reservations import cancel, confirm, reserve_keys
from services.dedupe.usecases.rules import list_rules, update_rule
from tests.support.reading import rows_read
from tests.support.until import until

Result = TypeVar("Result")


def customer(name: str, *phones: str) -> Subject:
    """Return a new customer as a subject."""
    return Subject(SubjectKind.CUSTOMER, new_id(), name, phones)


def contact(*phones: str) -> Subject:
    """Return a new contact as a subject."""
    return Subject(SubjectKind.CONTACT, new_id(), "联系人", phones)


def run(store: Store, tenant: Tenant, work: Callable[[Transaction], Result]) -> Result:
    """Do something in a transaction of its own."""
    with store.transaction(tenant) as tx:
        return work(tx)


def reserve(store: Store, tenant: Tenant, *subjects: Subject, reservation: str = "") -> str:
    """Reserve for 王小明; return the reservation's id."""
    reservation = reservation or new_id()
    run(store, tenant, lambda tx: reserve_keys(tx, reservation, subjects, new_id(), "王小明"))
    return reservation


def held_keys(store: Store, tenant: Tenant) -> int:
    """Return how many keys are held in the tenant."""
    query = select(func.count()).select_from(HeldKey).where(HeldKey.tenant_id == tenant.id)
    return run(store, tenant, lambda tx: tx.session.scalar(query)) or 0


def test_a_key_is_looked_up_without_reading_the_tenants_others(store: Store, tenant: Tenant) -> None:
    """Of a tenant that came since statistics were made the planner believes that it has no rows."""
    reserve(store, tenant, *(customer(f"新租户{number}号公司") for number in range(60)))
    with store.transaction(tenant) as tx:

        def once() -> None:
            assert len(find_holders(tx, [customer("新租户7号公司")])) == 1

        # The key, its reservation and no more, whether the plan is made for it or for any.
        assert rows_read(tx.session, once, "dedupe.held_key", "dedupe.reservation") <= 4


def test_out_of_the_box_the_preset_rules_hold(store: Store, tenant: Tenant) -> None:
    """F146, F151."""
    rules = run(store, tenant, list_rules)
    assert [(rule.kind, rule.field, rule.active) for rule in rules] == [
        ("contact", "phone", True),
        ("contact", "phone_and_name", False),
        ("customer", "credit_code", False),
        ("customer", "name", True),
        ("customer", "phone", True),
        ("customer", "phone_and_name", False),
        ("customer", "similar", True),
    ]


def test_a_held_key_is_refused_and_names_its_masked_holder(store: Store, tenant: Tenant) -> None:
    """F148, F170."""
    reserve(store, tenant, customer("东方贸易（上海）有限公司"))
    with pytest.raises(AlreadyExists) as refused:
        reserve(store, tenant, customer("东方贸易(上海) 有限公司"))
    assert refused.value.reason == "KEY_HELD"
    assert refused.value.metadata["holder"] == "王**"
    assert refused.value.metadata["kind"] == "customer"
    assert refused.value.metadata["field"] == "name"
    assert "王小明" not in str(refused.value.metadata) + refused.value.zh + refused.value.en
    assert refused.value.zh.startswith("客户名称已被 王** 占用")


def test_all_keys_are_taken_or_none(store: Store, tenant: Tenant) -> None:
    reserve(store, tenant, contact("+8613800138000"))
    before = held_keys(store, tenant)
    with pytest.raises(AlreadyExists):
        reserve(
            store, tenant, customer("新公司", "+862155556666"), contact("+8613900139000", "+8613800138000")
        )
    assert held_keys(store, tenant) == before


def test_the_same_reservation_again_gives_the_same_answer(store: Store, tenant: Tenant) -> None:
    subject, reservation = customer("重复公司", "+8613800138001"), new_id()
    first = run(store, tenant, lambda tx: reserve_keys(tx, reservation, [subject], "", "王小明"))
    again = run(store, tenant, lambda tx: reserve_keys(tx, reservation, [subject], "", "王小明"))
    assert again == first
    with pytest.raises(InvalidInput, match="RESERVATION_REUSED"):
        reserve(store, tenant, customer("别的公司"), reservation=reservation)


def test_a_subject_does_not_conflict_with_itself(store: Store, tenant: Tenant) -> None:
    subject = customer("自家公司")
    reserve(store, tenant, subject)
    reserve(store, tenant, Subject(subject.kind, subject.id, subject.name, ("+8613800138002",)))


def test_subjects_of_one_reservation_may_share_a_key(store: Store, tenant: Tenant) -> None:
    """Two contacts of one customer at one switchboard."""
    reserve(store, tenant, contact("+862155556666"), contact("+862155556666"))
    with pytest.raises(AlreadyExists):
        reserve(store, tenant, contact("+862155556666"))


def test_an_extension_makes_a_line_of_its_own(store: Store, tenant: Tenant) -> None:
    """O11."""
    reserve(store, tenant, contact("+862155556666;ext=801"))
    reserve(store, tenant, contact("+862155556666;ext=802"))


def test_cancelled_keys_are_free_and_the_reservation_never_comes_back(store: Store, tenant: Tenant) -> None:
    subject = customer("退出公司")
    reservation = reserve(store, tenant, subject)
    run(store, tenant, lambda tx: cancel(tx, reservation))
    with pytest.raises(RuleViolation, match="RESERVATION_CANCELLED"):
        reserve(store, tenant, subject, reservation=reservation)
    with pytest.raises(RuleViolation, match="RESERVATION_CANCELLED"):
        run(store, tenant, lambda tx: confirm(tx, reservation))
    reserve(store, tenant, customer("退出公司"))


def test_a_cancel_that_overtakes_its_reservation_wins(store: Store, tenant: Tenant) -> None:
    """The writer gave up waiting; its request arrives at last."""
    reservation = new_id()
    run(store, tenant, lambda tx: cancel(tx, reservation))
    with pytest.raises(RuleViolation, match="RESERVATION_CANCELLED"):
        reserve(store, tenant, customer("迟到公司"), reservation=reservation)
    assert held_keys(store, tenant) == 0


def test_a_rule_that_is_off_refuses_nothing_and_knows_its_keys_when_it_is_on_again(
    store: Store, tenant: Tenant
) -> None:
    """F147, F150."""
    rule = derive_id(tenant.id, "contact", "phone")
    run(store, tenant, lambda tx: update_rule(tx, rule, active=False))
    reserve(store, tenant, contact("+8613800138003"))
    reserve(store, tenant, contact("+8613800138003"))
    assert run(store, tenant, lambda tx: find_holders(tx, [contact("+8613800138003")])) == []
    assert run(store, tenant, lambda tx: update_rule(tx, rule, active=True)).version == 3
    with pytest.raises(AlreadyExists):
        reserve(store, tenant, contact("+8613800138003"))
    with pytest.raises(NotFound):
        run(store, tenant, lambda tx: update_rule(tx, new_id(), active=True))


def test_tenants_do_not_know_each_other(store: Store, tenant: Tenant) -> None:
    neighbour = Tenant(new_id(), tenant.database)
    reserve(store, tenant, customer("同名公司"))
    reserve(store, neighbour, customer("同名公司"))
    assert len(run(store, tenant, lambda tx: find_holders(tx, [customer("同名公司")]))) == 1


def test_holders_are_found_by_name_and_by_phone(store: Store, tenant: Tenant) -> None:
    """F152."""
    held = customer("在册公司", "+8613800138004")
    reserve(store, tenant, held)
    found = run(store, tenant, lambda tx: find_holders(tx, [customer("在册 公司", "+8613800138004")]))
    assert [(item.key.field, item.subject_id) for item in found] == [("name", held.id), ("phone", held.id)]


def test_customers_of_one_name_are_all_found_though_one_holds_the_key(store: Store, tenant: Tenant) -> None:
    """O5: from when the rule was off; the others are found too when the holder is gone, and not under another name."""
    rule = derive_id(tenant.id, "customer", "name")
    run(store, tenant, lambda tx: update_rule(tx, rule, active=False))
    first, second, third = (customer(name) for name in ("同名贸易公司", "同名 贸易公司", "同名贸易公司"))
    reservation = reserve(store, tenant, first)
    for each in (second, third, customer("同名贸易有限公司"), customer("异名贸易公司")):
        reserve(store, tenant, each)
    wanted = [customer("同名贸易（公司）")]

    def found() -> set[str]:
        held = run(store, tenant, lambda tx: find_holders(tx, wanted))
        others = run(store, tenant, lambda tx: find_namesakes(tx, wanted, held))
        ids = [item.subject_id for item in (*held, *others)]
        assert len(ids) == len(set(ids))
        return set(ids)

    assert found() == set()
    run(store, tenant, lambda tx: update_rule(tx, rule, active=True))
    assert found() == {first.id, second.id, third.id}
    renamed = Subject(SubjectKind.CUSTOMER, third.id, "改名贸易公司", ())
    reserve(store, tenant, renamed)
    run(store, tenant, lambda tx: cancel(tx, reservation))
    assert found() == {second.id}


@pytest.mark.parametrize("event_type", ["customer_created", "contact_created", "registration_passed"])
def test_what_customers_wrote_confirms_its_reservation(
    store: Store, main_tenant: Tenant, event_type: str
) -> None:
    reservation = reserve(store, main_tenant, customer("成立公司"))
    handle(store, main_tenant, event_type, reservation)
    handle(store, main_tenant, event_type, reservation)
    handle(store, main_tenant, event_type, "")
    with pytest.raises(NotFound, match="RESERVATION_NOT_FOUND"):
        handle(store, main_tenant, event_type, new_id())


def test_a_rejected_registration_frees_its_keys_even_when_they_were_confirmed(
    store: Store, main_tenant: Tenant
) -> None:
    """O3, F174."""
    reservation = reserve(store, main_tenant, customer("被拒公司"))
    run(store, main_tenant, lambda tx: confirm(tx, reservation))
    handle(store, main_tenant, "registration_rejected", reservation)
    reserve(store, main_tenant, customer("被拒公司"))


def handle(store: Store, tenant: Tenant, event_type: str, reservation: str) -> None:
    """Give an event of customers to its handler."""
    (handler,) = [item for item in events.handlers.all if item.event_type == event_type]
    event = Event(
        new_id(),
        event_type,
        "customers",
        tenant,
        "",
        new_id(),
        1,
        store.clock(),
        {"reservationId": reservation},
    )
    run(store, tenant, lambda tx: handler.function(tx, event))


def test_one_of_sixteen_simultaneous_writers_wins_each_key(store: Store, tenant: Tenant) -> None:
    """F152, F28: also when they take several keys in different orders, nobody waits for ever."""
    numbers = [f"+86138001{index:05d}" for index in range(12)]
    start = threading.Barrier(16)

    def write(worker: int) -> list[str]:
        won = []
        start.wait()
        for index in range(len(numbers)):
            phones = (numbers[index:] + numbers[:index])[:3]
            try:
                reserve(store, tenant, customer(f"公司{worker}-{index}", *phones[:: 1 if worker % 2 else -1]))
                won += phones
            except AlreadyExists:
                continue
        return won

    with ThreadPoolExecutor(16) as threads:
        winners = [won for worker in threads.map(write, range(16)) for won in worker]
    assert len(winners) == len(set(winners))
    with store.transaction(tenant) as tx:
        rows = tx.session.scalars(
            select(HeldKey).where(HeldKey.tenant_id == tenant.id, HeldKey.field == "phone")
        ).all()
    # Whole triples only: a writer has all of its keys or none.
    assert len(rows) == 3 * len({row.subject_id for row in rows}) > 0


def test_a_key_that_is_given_back_meanwhile_is_taken(store: Store, main_tenant: Tenant) -> None:
    """The taker waits for the giver's commit and finds the key free."""
    reservation = reserve(store, main_tenant, customer("易手公司"))
    with ThreadPoolExecutor(1) as threads, store.transaction(main_tenant) as tx:
        cancel(tx, reservation)
        taker = threads.submit(reserve, store, main_tenant, customer("易手公司"))
        wait_for_lock(store, main_tenant)
        tx.session.commit()
        assert taker.result(timeout=10)


def wait_for_lock(store: Store, tenant: Tenant) -> None:
    """Wait until some session of the database waits for another one's transaction."""

    def waiting() -> bool:
        with store.across(tenant.database) as session:
            query = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
            return bool(session.scalar(query))

    until(waiting)


def test_only_the_first_of_several_reservations_wakes_settling(store: Store, main_tenant: Tenant) -> None:
    def wakes() -> int:
        outbox = store.tables["outbox"]
        with store.transaction(main_tenant) as tx:
            query = select(func.count()).where(outbox.c.tenant_id == main_tenant.id)
            return tx.session.scalar(query) or 0

    first = store.clock()
    with store.transaction(main_tenant, now=first) as tx:
        settle_time = reserve_keys(tx, new_id(), [customer("甲公司")], "", "王小明").settle_time
    assert settle_time == first + SETTLE_AFTER
    assert wakes() == 1
    with store.transaction(main_tenant, now=first + SETTLE_AFTER / 2) as tx:
        reserve_keys(tx, new_id(), [customer("乙公司")], "", "王小明")
    assert wakes() == 1
    with store.transaction(main_tenant, now=first + 2 * SETTLE_AFTER) as tx:
        reserve_keys(tx, new_id(), [customer("丙公司")], "", "王小明")
    assert wakes() == 2


def test_an_error_leaves_nothing_of_a_reservation(store: Store, main_tenant: Tenant) -> None:
    reserve(store, main_tenant, customer("占位公司"))
    refused = new_id()
    with pytest.raises(AppError):
        reserve(store, main_tenant, customer("占位公司"), reservation=refused)
    with pytest.raises(NotFound):
        run(store, main_tenant, lambda tx: confirm(tx, refused))
