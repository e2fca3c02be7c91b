"""Several writers want one key; any of them may die anywhere: one wins, and no live record loses its key.

Dedupe and customers as they are, over their real databases; only the network between them is left out.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AlreadyExists, RuleViolation
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.customers import CustomerDraft
from services.customers.store.tables import Base as CustomersBase
from services.customers.store.tables import Customer
from services.customers.usecases import reservations as outcomes
from services.customers.usecases.create import create_customer
from services.customers.usecases.registrations import reject_registration
from services.customers.usecases.settings import SettingsDraft, update_settings
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.domain.reservations import ReservationState
from services.dedupe.store.tables import HeldKey, Reservation
from services.dedupe.usecases.reservations import cancel, confirm, reserve_keys
from services.dedupe.usecases.settling import settle

NAME = "抢手公司"


@pytest.fixture(scope="module")
def customers(settings: Settings) -> Iterator[Store]:
    """The store of customers, which writes."""
    store = Store(settings.database_urls, CustomersBase.metadata, utc_now, pool_size=12)
    yield store
    store.close()


@dataclass
class Customers:
    """Customers as dedupe asks it."""

    store: Store

    def has_written(self, tenant: Tenant, reservation_id: str) -> bool:
        """Ask without the network."""
        with self.store.transaction(tenant) as tx:
            return outcomes.settle(tx, reservation_id)


@dataclass
class Writer:
    """One who makes a customer of that name: reserves, writes, and its event confirms."""

    dedupe: Store
    customers: Store
    tenant: Tenant
    reservation_id: str = field(default_factory=new_id)
    customer_id: str = field(default_factory=new_id)
    done: int = 0
    dead: bool = False
    answer: bool | None = None

    def step(self) -> None:
        """Do the next thing; refusals are its end."""
        if self.dead or self.done == 3:
            return
        try:
            (self.reserve, self.write, self.confirm)[self.done]()
            self.done += 1
        except (AlreadyExists, RuleViolation):
            self.dead = True

    def reserve(self) -> None:
        """Take the key."""
        subject = Subject(SubjectKind.CUSTOMER, self.customer_id, NAME, ())
        with self.dedupe.transaction(self.tenant) as tx:
            reserve_keys(tx, self.reservation_id, [subject], "", "王小明")

    def write(self) -> None:
        """Make the customer."""
        caller = Caller(tenant=self.tenant, person_id=new_id())
        draft = CustomerDraft(id=self.customer_id, name=NAME)
        with self.customers.transaction(self.tenant) as tx:
            create_customer(tx, caller, draft, self.reservation_id)

    def confirm(self) -> None:
        """Let the event arrive."""
        with self.dedupe.transaction(self.tenant) as tx:
            confirm(tx, self.reservation_id)

    def die(self) -> None:
        """Die here."""
        self.dead = True

    def ask(self) -> None:
        """Let settling ask what became of it, and be interrupted."""
        if self.unconfirmed():
            self.answer = Customers(self.customers).has_written(self.tenant, self.reservation_id)

    def act(self) -> None:
        """Let the interrupted settling go on with the answer it has."""
        if self.answer is None:
            return
        with self.dedupe.transaction(self.tenant) as tx:
            (confirm if self.answer else cancel)(tx, self.reservation_id)
        self.answer = None

    def settle(self) -> None:
        """Settle it whole."""
        if self.unconfirmed():
            settle(self.dedupe, Customers(self.customers), self.tenant, self.reservation_id)

    def unconfirmed(self) -> bool:
        """Tell whether settling would pick it."""
        with self.dedupe.transaction(self.tenant) as tx:
            row = tx.session.get(Reservation, (self.tenant.id, self.reservation_id))
            return row is not None and row.state == ReservationState.RESERVED


def check(dedupe: Store, customers: Store, tenant: Tenant) -> list[str]:
    """Check what must always hold; return the customers that exist."""
    with customers.transaction(tenant) as tx:
        live = list(tx.session.scalars(select(Customer.customer_id).where(Customer.tenant_id == tenant.id)))
    with dedupe.transaction(tenant) as tx:
        holders = tx.session.scalars(select(HeldKey.subject_id).where(HeldKey.tenant_id == tenant.id)).all()
    assert len(live) <= 1
    assert set(live) <= set(holders)
    return live


def settled(writers: list[Writer], dedupe: Store, customers: Store, tenant: Tenant) -> None:
    """Settle what is left: then the key is held by the one customer, or free for the next one."""
    for writer in writers:
        writer.settle()
    live = check(dedupe, customers, tenant)
    late = Writer(dedupe, customers, tenant)
    for _ in range(3):
        late.step()
    assert late.dead == bool(live)
    assert check(dedupe, customers, tenant) == (live or [late.customer_id])


ACTIONS: dict[str, Callable[[Writer], None]] = {
    "step": Writer.step,
    "die": Writer.die,
    "ask": Writer.ask,
    "act": Writer.act,
    "settle": Writer.settle,
}
schedules = st.lists(
    st.tuples(st.sampled_from(["step"] * 5 + list(ACTIONS)), st.integers(0, 2)), min_size=3, max_size=20
)
usual = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@settings(usual, max_examples=25)
@given(schedule=schedules, database=st.sampled_from(["main", "south"]))
def test_in_any_order_of_steps_and_deaths_one_wins(
    store: Store, customers: Store, schedule: list[tuple[str, int]], database: str
) -> None:
    """Decision 2: neither a crash nor a slow writer loses a live key."""
    tenant = Tenant(new_id(), database)
    writers = [Writer(store, customers, tenant) for _ in range(3)]
    for action, who in schedule:
        ACTIONS[action](writers[who])
        check(store, customers, tenant)
    for writer in writers:
        writer.act()
    settled(writers, store, customers, tenant)


# What threads do can't be shrunk: it is another thing each time.
@settings(usual, max_examples=10, phases=[Phase.generate])
@given(lives=st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_of_simultaneous_writers_one_wins_while_settling_runs_at_once(
    store: Store, customers: Store, lives: list[int]
) -> None:
    """Eight writers, each dead after some step, and two settlers that do not wait for anybody's time."""
    tenant = Tenant(new_id(), "main")
    writers = [Writer(store, customers, tenant) for _ in lives]
    start = threading.Barrier(len(writers) + 2)

    def write(writer: Writer, steps: int) -> None:
        start.wait()
        for _ in range(steps):
            writer.step()

    def settle_all() -> None:
        start.wait()
        for writer in writers:
            try:
                writer.settle()
            except RuleViolation:
                # The other settler was faster.
                continue

    with ThreadPoolExecutor(len(writers) + 2) as threads:
        running = [
            *(threads.submit(write, writer, steps) for writer, steps in zip(writers, lives, strict=True)),
            *(threads.submit(settle_all) for _ in range(2)),
        ]
        for future in running:
            future.result()
    settled(writers, store, customers, tenant)


def test_without_deaths_and_settling_exactly_one_wins(store: Store, customers: Store, tenant: Tenant) -> None:
    """F152."""
    writers = [Writer(store, customers, tenant) for _ in range(16)]

    def write(writer: Writer) -> bool:
        for _ in range(3):
            writer.step()
        return not writer.dead

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(write, writers)) == 1
    assert len(check(store, customers, tenant)) == 1


def test_a_registration_that_waits_keeps_its_keys_until_it_is_rejected(
    store: Store, customers: Store, main_tenant: Tenant
) -> None:
    """O3, F170: settling asks before and after the rejection."""
    writer = Writer(store, customers, main_tenant)
    writer.reserve()
    with customers.transaction(main_tenant) as tx:
        update_settings(tx, SettingsDraft(True, 0, None, ""))
        caller = Caller(tenant=main_tenant, person_id=new_id())
        draft = CustomerDraft(id=writer.customer_id, name=NAME, approver_id=new_id())
        create_customer(tx, caller, draft, writer.reservation_id)
    writer.settle()
    assert check(store, customers, main_tenant) == [writer.customer_id]
    with customers.transaction(main_tenant) as tx:
        reject_registration(tx, writer.customer_id)
    # The event is late, so the key is still held; settling by now would free it as well.
    assert not Customers(customers).has_written(main_tenant, writer.reservation_id)
    with store.transaction(main_tenant) as tx:
        cancel(tx, writer.reservation_id)
        assert tx.session.scalars(select(HeldKey).where(HeldKey.tenant_id == main_tenant.id)).all() == []
