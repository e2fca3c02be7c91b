"""What one service knows and another one does not is found, and mended by the service that is wrong.

As after a restore of stores that were put away at different instants: rows are taken away or put back behind the
services' backs, and what they then say to each other goes through their real handlers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from services.__main__ import load
from services.approvals.domain.steps import ApprovalState
from services.approvals.store.tables import Approval
from services.chassis.db import Event, Store
from services.chassis.ids import new_id
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.chassis.tokens import Caller
from services.customers.domain.customers import CustomerDraft
from services.customers.store.tables import Staff
from services.customers.usecases.create import create_customer
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.store.tables import HeldKey, MatchRecord, Reservation
from services.dedupe.usecases.reservations import confirm, reserve_keys
from services.identity.__main__ import SERVICE as IDENTITY
from services.leads.domain.states import OpportunityState
from services.leads.store.tables import Opportunity
from services.orders.domain.states import OrderState
from services.orders.store.tables import Order
from services.orders.usecases.orders import WonOpportunity, generate_order
from services.reconcile.command import WORKFLOW, Reconciler
from services.telephony.store import tables as telephony
from tests.support.running import take
from tests.support.served import served
from tests.support.staff import Company, new_company


class House:
    """A company whose services hear of each other only when `deliver` carries their outboxes over."""

    def __init__(self, company: Company, runtimes: Mapping[str, Runtime], reconciler: Reconciler) -> None:
        self.company = company
        self.tenant = company.tenant
        self._runtimes = runtimes
        self._reconciler = reconciler
        self.rep = Caller(
            tenant=self.tenant, person_id=company.add("li", "sales_rep"), department_path="root/"
        )

    def store(self, service: str) -> Store:
        """Return a service's store."""
        return self._runtimes[service].store

    def deliver(self) -> None:
        """Carry everything over, as the relays, the broker and Temporal do, until nobody has anything to say."""
        while self._deliver_once():
            pass

    def _deliver_once(self) -> int:
        carried = 0
        for runtime in self._runtimes.values():
            outbox = runtime.store.tables["outbox"]
            with runtime.store.transaction(self.tenant) as tx:
                mine = outbox.c.tenant_id == self.tenant.id
                rows = tx.session.execute(select(outbox).where(mine).order_by(outbox.c.id)).all()
                tx.session.execute(delete(outbox).where(mine))
            for row in rows:
                carried += 1
                if row.lane == "temporal":
                    assert runtime.temporal.deliver([(row.kind, row.body)]) == [None]
                else:
                    self._hand_over(Event.from_json(row.body))
        return carried

    def _hand_over(self, event: Event) -> None:
        for service in load():
            handlers = service.handlers() if service.handlers else None
            if handlers and any(
                (each.source, each.event_type) == (event.source, event.type) for each in handlers.all
            ):
                take(self.store(service.name), handlers, event)

    def check(self, *, repair: bool = False) -> set[tuple[str, str]]:
        """Return what disagrees, as (kind, id); sweeps that nobody started are told apart by `workflows`."""
        found = self._reconciler.check(self.tenant, repair=repair)
        return {(each.kind, each.id) for each in found if each.kind != WORKFLOW}

    def workflows(self) -> set[str]:
        """Return the workflows that should run and do not."""
        return {
            each.id for each in self._reconciler.check(self.tenant, repair=False) if each.kind == WORKFLOW
        }

    def customer(self) -> str:
        """Let the rep create a customer, under keys that dedupe reserved."""
        draft = CustomerDraft(id=new_id(), name=f"云海{new_id()[-8:]}有限公司")
        reservation_id = self.reserve(draft.id, draft.name)
        with self.store("customers").transaction(self.tenant, self.rep.person_id) as tx:
            create_customer(tx, self.rep, draft, reservation_id)
        return draft.id

    def reserve(self, subject_id: str, name: str) -> str:
        """Take the keys of a record; return the reservation's id."""
        reservation_id = new_id()
        with self.store("dedupe").transaction(self.tenant) as tx:
            subject = Subject(SubjectKind.CUSTOMER, subject_id, name, ())
            reserve_keys(tx, reservation_id, [subject], self.rep.person_id, "li")
        return reservation_id

    def decided(self, subject_type: str, subject_id: str) -> None:
        """Let an approval of a subject have passed without anybody hearing of it."""
        with self.store("approvals").transaction(self.tenant) as tx:
            tx.session.add(
                Approval(
                    id=new_id(),
                    tenant_id=self.tenant.id,
                    subject_type=subject_type,
                    subject_id=subject_id,
                    title="",
                    submitter_id=self.rep.person_id,
                    shown=[],
                    shown_hash="",
                    state=ApprovalState.PASSED,
                    open_step=-1,
                    reminders=0,
                    flow_version=1,
                    version=1,
                    create_time=tx.now,
                )
            )

    def order(self, customer_id: str) -> str:
        """Make an order of an opportunity of a customer that was won; return its id."""
        won = self.won(customer_id)
        with self.store("orders").transaction(self.tenant) as tx:
            generate_order(
                tx, WonOpportunity(won, "空调", customer_id, "云海", self.rep.person_id, "root/", "100.00")
            )
            return str(tx.session.scalar(select(Order.id).where(Order.opportunity_id == won)))

    def won(self, customer_id: str) -> str:
        """Let an opportunity be won without anybody hearing of it; return its id."""
        opportunity_id = new_id()
        with self.store("leads").transaction(self.tenant) as tx:
            tx.session.add(
                Opportunity(
                    id=opportunity_id,
                    tenant_id=self.tenant.id,
                    customer_id=customer_id,
                    customer_name="云海",
                    name=f"空调{opportunity_id[-6:]}",
                    owner_id=self.rep.person_id,
                    owner_department_path="root/",
                    amount=100,
                    state=OpportunityState.WON,
                    create_time=tx.now,
                    version=1,
                )
            )
        return opportunity_id

    def change(self, service: str, *statements: Any) -> None:
        """Change rows behind a service's back."""
        with self.store(service).transaction(self.tenant) as tx:
            for statement in statements:
                tx.session.execute(statement)


@pytest.fixture(scope="module")
def reconciler(settings: Settings, environment: Mapping[str, str]) -> Iterator[Reconciler]:
    """What the command is made of, with no patience: nothing is on its way here."""
    reconciler = Reconciler(load(), settings, environment, wait_s=0)
    yield reconciler
    reconciler.close()


@pytest.fixture(params=["main", "south"])
def house(
    request: pytest.FixtureRequest,
    settings: Settings,
    environment: Mapping[str, str],
    issuer_keys: Mapping[str, tuple[str, str]],
    reconciler: Reconciler,
) -> Iterator[House]:
    """A company in each of the databases, all of whose services agree."""
    runtimes = {service.name: service.runtime(settings, environment) for service in load()}
    with served(IDENTITY, settings) as address:
        company = new_company(runtimes["identity"], address, issuer_keys, request.param)
        house = House(company, runtimes, reconciler)
        house.deliver()
        assert house.check() == set()
        yield house
    for runtime in runtimes.values():
        runtime.temporal.close()
        runtime.store.close()


def test_what_services_disagree_about_is_found_and_mended_once(house: House) -> None:
    """Every kind that rows show, each once; mended again before anybody heard of it, nothing happens twice."""
    moved, masked, unconfirmed = house.customer(), house.customer(), house.customer()
    house.deliver()
    order_id, ghost = house.order(masked), new_id()
    house.deliver()
    assert house.check() == set()

    # Telephony was put away before the customer came, matching before it changed hands.
    house.change(
        "telephony", delete(telephony.customer_owner).where(telephony.customer_owner.c.customer_id == moved)
    )
    of_unconfirmed = select(MatchRecord.reservation_id).where(MatchRecord.subject_id == unconfirmed)
    house.change(
        "dedupe",
        update(MatchRecord).where(MatchRecord.customer_id == masked).values(owner_id=new_id()),
        update(Reservation)
        .where(Reservation.reservation_id.in_(of_unconfirmed))
        .values(state="reserved", settle_time=text("now() - interval '1 hour'")),
    )
    # Keys of a customer that went with the database it was in.
    reservation_id = house.reserve(ghost, "无此公司")
    with house.store("dedupe").transaction(house.tenant) as tx:
        confirm(tx, reservation_id)
        stays = str(
            tx.session.scalar(select(MatchRecord.reservation_id).where(MatchRecord.subject_id == unconfirmed))
        )
    house.change("customers", delete(Staff).where(Staff.person_id == house.rep.person_id))
    house.change("orders", update(Order).where(Order.id == order_id).values(state=OrderState.SUBMITTED))
    house.decided("order", order_id)
    won = house.won(moved)

    broken = {
        ("person-unknown", house.rep.person_id),
        ("owner-of-calls", moved),
        ("owner-of-matches", masked),
        ("key-of-nobody", ghost),
        ("reservation-unconfirmed", stays),
        ("order-undecided", order_id),
        ("won-without-order", won),
    }
    assert house.check() == broken
    assert house.check(repair=True) == broken
    # The one that tells identity's word has told it; before it is heard, it still disagrees, and is told again.
    assert house.check(repair=True) == {("person-unknown", house.rep.person_id)}
    house.deliver()
    assert house.check() == set()
    with house.store("orders").transaction(house.tenant) as tx:
        made = tx.session.scalars(select(Order).where(Order.opportunity_id == won)).all()
        assert [order.title for order in made] == [f"空调{won[-6:]}"]
        assert tx.session.get_one(Order, order_id).state == OrderState.APPROVED
    with house.store("dedupe").transaction(house.tenant) as tx:
        assert tx.session.scalars(select(HeldKey).where(HeldKey.subject_id == ghost)).all() == []
        assert tx.session.scalars(select(HeldKey).where(HeldKey.subject_id == moved)).all() != []


def test_workflows_that_have_to_run_are_started_where_temporal_was_lost(house: House) -> None:
    """A Temporal that is empty: what the tables say has to run is missing, and runs after the mending."""
    house.customer()
    expected = {f"no-pool-{house.tenant.id}"}
    # Nothing of the tenant was ever given to Temporal.
    for service in load():
        outbox = house.store(service.name).tables["outbox"]
        house.change(service.name, delete(outbox).where(outbox.c.lane == "temporal"))
    assert expected <= house.workflows()
    house.check(repair=True)
    house.deliver()
    assert house.workflows() == set()


def test_what_only_a_person_can_decide_is_named_and_left_alone(house: House) -> None:
    customer_id = house.customer()
    house.deliver()
    house.change("dedupe", delete(MatchRecord).where(MatchRecord.subject_id == customer_id))
    assert house.check(repair=True) == {("customer-without-match", customer_id)}
    assert house.check() == {("customer-without-match", customer_id)}
