"""Two customers become one, in every service, and two again: real stores and handlers, any order, any death."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import merges_pb2, records_pb2
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from services.chassis.clock import utc_now
from services.chassis.db import Event, Store
from services.chassis.errors import AppError
from services.chassis.events import Handlers
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.customers.__main__ import SERVICE as CUSTOMERS
from services.customers.domain.merges import FOLLOWERS
from services.customers.usecases.merges import ask_again
from services.dedupe.__main__ import SERVICE as DEDUPE
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.domain.rules import Entrance
from services.dedupe.usecases.matching import check_duplicates
from services.leads.__main__ import SERVICE as LEADS
from services.leads.store.tables import Lead, Opportunity
from services.notify.__main__ import SERVICE as NOTIFY
from services.notify.store.tables import FollowUpReminder
from services.orders.__main__ import SERVICE as ORDERS
from services.orders.store.tables import Order
from services.telephony.__main__ import SERVICE as TELEPHONY
from services.telephony.store.tables import call
from tests.integration.customers.office import REP, Office, Person
from tests.support.running import take

SERVICES = {service.name: service for service in (CUSTOMERS, DEDUPE, LEADS, ORDERS, TELEPHONY, NOTIFY)}
MANAGER = REP | {"pools.manage", "customers.edit"}
PHONE, OTHER_PHONE = "13800138000", "13900139000"


class System:
    """The stores of all services that know customers, and their handlers: events travel when the test says."""

    def __init__(self, tenant: Tenant, stores: Mapping[str, Store]) -> None:
        self.tenant = tenant
        self.stores = stores
        self.handlers: dict[str, Handlers] = {
            name: service.handlers() for name, service in SERVICES.items() if service.handlers
        }

    def waiting(self) -> list[tuple[str, int, Event]]:
        """Return what waits in the outboxes: the service, the row and the event, oldest first."""
        found = []
        for name, store in self.stores.items():
            outbox = store.tables["outbox"]
            with store.transaction(self.tenant) as tx:
                rows = tx.session.execute(
                    select(outbox.c.id, outbox.c.body)
                    .where(outbox.c.tenant_id == self.tenant.id, outbox.c.lane == "amqp")
                    .order_by(outbox.c.id)
                ).all()
            found += [(name, row.id, Event.from_json(row.body)) for row in rows]
        return found

    def deliver(self, sender: str, row: int, event: Event, *, confirmed: bool = True) -> None:
        """Give an event to who takes it; without confirmation it is delivered again."""
        for name, handlers in self.handlers.items():
            if any((each.source, each.event_type) == (event.source, event.type) for each in handlers.all):
                take(self.stores[name], handlers, event)
        if confirmed:
            outbox = self.stores[sender].tables["outbox"]
            with self.stores[sender].transaction(self.tenant) as tx:
                tx.session.execute(outbox.delete().where(outbox.c.id == row))

    def settle(self) -> None:
        """Deliver until nothing waits."""
        while waiting := self.waiting():
            for item in waiting:
                self.deliver(*item)

    def add(self, service: str, table: Any, **values: Any) -> str:
        """Write a row of a service; return its id."""
        row_id = new_id()
        with self.stores[service].transaction(self.tenant) as tx:
            tx.session.execute(insert(table).values(id=row_id, tenant_id=self.tenant.id, **values))
        return row_id

    def parents(self, customer_id: str) -> dict[str, int]:
        """Count what names a customer, by table."""
        places = {
            "customers": ("contact", "phone", "follow_up", "timeline_entry"),
            "leads": ("lead", "opportunity"),
            "orders": ("order",),
            "telephony": ("call",),
            "dedupe": ("match_record", "held_key"),
        }
        counts = {}
        for service, tables in places.items():
            with self.stores[service].transaction(self.tenant) as tx:
                for table in tables:
                    column = "subject_id" if table == "held_key" else "customer_id"
                    counts[table] = tx.session.scalar(
                        text(f'SELECT count(*) FROM {service}."{table}" WHERE {column} = :id'),  # noqa: S608  # names from the catalogue
                        {"id": customer_id},
                    )
        return {table: count for table, count in counts.items() if count}


@pytest.fixture(scope="module")
def all_stores(settings: Settings) -> Iterator[Mapping[str, Store]]:
    """A store of each service."""
    with ExitStack() as opened:
        stores = {
            name: Store(settings.database_urls, service.metadata(), utc_now)
            for name, service in SERVICES.items()
        }
        for store in stores.values():
            opened.callback(store.close)
        yield stores


@pytest.fixture
def system(office: Office, all_stores: Mapping[str, Store]) -> System:
    """All services over a fresh tenant."""
    return System(office.tenant, all_stores)


@pytest.fixture
def manager(office: Office) -> Person:
    """Somebody who may merge."""
    return office.hire(MANAGER, scope="all")


def with_rows(system: System, customer: pb.Customer, owner: Person) -> None:
    """Give a customer rows in every service."""
    now = utc_now()
    people = {"owner_id": owner.id, "owner_department_path": "root/east/"}
    system.add(
        "leads",
        Lead.__table__,
        name="线索",
        company="",
        phone="",
        phone_key="",
        source="",
        note="",
        state="converted",
        owner_department_path="",
        customer_id=customer.customer_id,
        create_time=now,
        version=1,
    )
    opportunity_id = system.add(
        "leads",
        Opportunity.__table__,
        customer_id=customer.customer_id,
        customer_name=customer.name,
        name="年度采购",
        amount=1,
        state="open",
        create_time=now,
        version=1,
        **people,
    )
    system.add(
        "orders",
        Order.__table__,
        number=new_id(),
        opportunity_id=opportunity_id,
        customer_id=customer.customer_id,
        customer_name=customer.name,
        title="订单",
        amount=1,
        state="generated",
        remind_time=now,
        create_time=now,
        version=1,
        **people,
    )
    system.add(
        "telephony",
        call,
        pbx="",
        linked_id="",
        direction="inbound",
        state="ended",
        customer_id=customer.customer_id,
        start_time=now,
        version=1,
    )
    system.add(
        "notify",
        FollowUpReminder.__table__,
        person_id=owner.id,
        title="回访",
        subject_type="customer",
        subject_id=customer.customer_id,
        subject_name=customer.name,
        source="",
        state="active",
        first_time=now,
        interval_minutes=0,
        create_time=now,
    )
    owner(pb.AddFollowUpRequest(request_id=new_id(), customer_id=customer.customer_id, text=customer.name))


def two_customers(system: System, owner: Person) -> tuple[pb.Customer, pb.Customer]:
    """Return two customers with rows everywhere."""
    pair = (
        owner.create("成都知品科技有限公司", PHONE, level="A", contacts=[pb.ContactInput(name="王经理")]),
        owner.create(
            "知品科技（成都）公司", OTHER_PHONE, level="B", contacts=[pb.ContactInput(name="张经理")]
        ),
    )
    for customer in pair:
        with_rows(system, customer, owner)
    system.settle()
    return pair


def merge(manager: Person, survivor: pb.Customer, merged: pb.Customer, *take_over: str) -> merges_pb2.Merge:
    """Merge."""
    request = merges_pb2.MergeCustomersRequest(
        request_id=new_id(),
        survivor_id=survivor.customer_id,
        merged_id=merged.customer_id,
        take=take_over,
    )
    answer: merges_pb2.Merge = manager(request).merge
    return answer


def undo(manager: Person, merge_id: str) -> None:
    """Take a merge back."""
    manager(merges_pb2.UndoMergeRequest(request_id=new_id(), merge_id=merge_id))


def state_of(manager: Person, merge_id: str) -> int:
    """Return how far a merge is."""
    found: int = manager(merges_pb2.GetMergeRequest(merge_id=merge_id)).merge.state
    return found


def test_everything_of_the_merged_customer_is_the_survivors_and_the_old_id_leads_there(
    system: System, office: Office, manager: Person
) -> None:
    """F36: contacts, follow-ups, orders, contracts and calls are re-parented, none lost; field by field as chosen."""
    owner = office.hire()
    one, other = two_customers(system, owner)
    before = [system.parents(customer.customer_id) for customer in (one, other)]
    compared = manager(
        merges_pb2.CompareCustomersRequest(survivor_id=one.customer_id, merged_id=other.customer_id)
    )
    assert {item.field: (item.survivor_value, item.merged_value) for item in compared.differences}[
        "level"
    ] == ("A", "B")
    merged = merge(manager, one, other, "level")
    # Ours moved at once, the others' when they heard of it.
    assert state_of(manager, merged.merge_id) == merges_pb2.MERGE_STATE_RUNNING
    system.settle()
    assert state_of(manager, merged.merge_id) == merges_pb2.MERGE_STATE_MERGED
    after = system.parents(one.customer_id)
    for table in ("contact", "phone", "follow_up", "lead", "opportunity", "order", "call", "match_record"):
        assert after[table] == before[0][table] + before[1][table], table
    assert system.parents(other.customer_id) == {}
    found = manager.get(other.customer_id)
    assert (found.customer_id, found.name, found.level) == (one.customer_id, one.name, "B")
    assert {contact.name for contact in found.contacts} == {"王经理", "张经理"}
    page = manager(records_pb2.GetCustomerPageRequest(customer_id=other.customer_id))
    assert page.customer.customer_id == one.customer_id
    # Its keys hold on: nobody takes its name, and who types it finds the survivor.
    refused = owner.refused(owner.form(other.name))
    assert refused.reason == "KEY_HELD"
    with system.stores["dedupe"].transaction(office.tenant) as tx:
        subject = Subject(SubjectKind.CUSTOMER, "", other.name, ())
        check = check_duplicates(tx, subject, (), Entrance.FORM)
    assert [item.customer_id for item in check.similar] == [one.customer_id]


def test_an_undo_restores_both_but_what_was_edited_since(
    system: System, office: Office, manager: Person
) -> None:
    """F36."""
    owner = office.hire()
    one, other = two_customers(system, owner)
    before = [system.parents(customer.customer_id) for customer in (one, other)]
    merged = merge(manager, one, other, "level", "name")
    assert (
        manager.refused(merges_pb2.UndoMergeRequest(request_id=new_id(), merge_id=merged.merge_id)).reason
        == "MERGE_RUNNING"
    )
    system.settle()
    owner(pb.AddFollowUpRequest(request_id=new_id(), customer_id=other.customer_id, text="合并之后"))
    manager(records_pb2.UpdateCustomerRequest(request_id=new_id(), customer_id=one.customer_id, level="S"))
    undo(manager, merged.merge_id)
    system.settle()
    assert state_of(manager, merged.merge_id) == merges_pb2.MERGE_STATE_UNDONE
    now = [system.parents(customer.customer_id) for customer in (one, other)]
    for table in ("contact", "phone", "lead", "opportunity", "order", "call", "match_record", "held_key"):
        assert [count[table] for count in now] == [count[table] for count in before], table
    assert now[0]["follow_up"] == before[0]["follow_up"] + 1
    survivor, back = (owner.get(customer.customer_id) for customer in (one, other))
    assert (survivor.name, survivor.level) == (one.name, "S")
    assert (back.name, back.level, back.owner_id) == (other.name, "B", owner.id)
    assert [change.cause for change in owner.ledger(other.customer_id)][:2] == [
        pb.OWNERSHIP_CAUSE_UNMERGE,
        pb.OWNERSHIP_CAUSE_MERGE,
    ]
    assert (
        manager.refused(merges_pb2.UndoMergeRequest(request_id=new_id(), merge_id=merged.merge_id)).reason
        == "MERGE_UNDONE"
    )


def test_merges_of_merges_come_apart_in_any_order(system: System, office: Office, manager: Person) -> None:
    """The first merge is undone while the second holds, then the second."""
    owner = office.hire()
    trio = [owner.create(f"{name}科技有限公司", contacts=[pb.ContactInput(name=name)]) for name in "甲乙丙"]
    system.settle()
    first = merge(manager, trio[1], trio[0])
    system.settle()
    second = merge(manager, trio[2], trio[1])
    system.settle()
    assert manager.get(trio[0].customer_id).customer_id == trio[2].customer_id
    undo(manager, first.merge_id)
    system.settle()
    assert [contact.name for contact in owner.get(trio[0].customer_id).contacts] == ["甲"]
    assert {contact.name for contact in owner.get(trio[1].customer_id).contacts} == {"乙", "丙"}
    undo(manager, second.merge_id)
    system.settle()
    for name, customer in zip("甲乙丙", trio, strict=True):
        assert [contact.name for contact in owner.get(customer.customer_id).contacts] == [name]
        assert system.parents(customer.customer_id)["held_key"] == 1


@examples(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whoever_dies_when_nothing_is_left_half_done(
    open_office: Callable[..., Office], all_stores: Mapping[str, Store], main_tenant: Any, data: st.DataObject
) -> None:
    """Kill -9 between any two steps: an event is delivered once, twice or late, in any order, and asked for again."""
    office = open_office(type(main_tenant)(new_id(), main_tenant.database))
    system, owner = System(office.tenant, all_stores), office.hire()
    manager = office.hire(MANAGER, scope="all")
    one, other = two_customers(system, owner)
    before = system.parents(other.customer_id)
    merged = merge(manager, one, other)
    for undoing in (False, True):
        if undoing:
            undo(manager, merged.merge_id)
        for _ in range(data.draw(st.integers(0, 12))):
            if not (waiting := system.waiting()):
                break
            item = data.draw(st.sampled_from(range(len(waiting))))
            # Confirmed or not: a relay that dies before the confirm delivers again.
            system.deliver(*waiting[item], confirmed=data.draw(st.booleans()))
            if data.draw(st.booleans()):
                office.run(partial(ask_again, merge_id=merged.merge_id, undo=undoing))
        system.settle()
        state = merges_pb2.MERGE_STATE_UNDONE if undoing else merges_pb2.MERGE_STATE_MERGED
        assert state_of(manager, merged.merge_id) == state
        assert set(manager(merges_pb2.GetMergeRequest(merge_id=merged.merge_id)).merge.followed) == set(
            FOLLOWERS
        )
        left = system.parents(other.customer_id)
        assert {name: left.get(name, 0) for name in before if name != "timeline_entry"} == {
            name: count if undoing else 0 for name, count in before.items() if name != "timeline_entry"
        }


def test_an_order_of_the_old_id_that_comes_late_follows(
    system: System, office: Office, manager: Person
) -> None:
    """A sale was won just before the merge: its order is made behind it, and goes back with the undo."""
    owner = office.hire()
    one, other = two_customers(system, owner)
    merged = merge(manager, one, other)
    system.settle()
    won = {
        "opportunityId": new_id(),
        "name": "迟到的商机",
        "customerId": other.customer_id,
        "ownerId": owner.id,
        "ownerDepartmentPath": "root/east/",
        "amount": "5.00",
    }
    event = Event(new_id(), "opportunity_won", "leads", office.tenant, "", new_id(), 1, utc_now(), won)
    take(system.stores["orders"], system.handlers["orders"], event)
    system.settle()
    assert system.parents(one.customer_id)["order"] == 3
    undo(manager, merged.merge_id)
    system.settle()
    assert [system.parents(customer.customer_id)["order"] for customer in (one, other)] == [1, 2]


def test_bad_merges_are_refused(system: System, office: Office, manager: Person) -> None:
    owner = office.hire()
    one, other = owner.create(), owner.create()
    for request, reason in (
        (
            merges_pb2.MergeCustomersRequest(
                request_id=new_id(), survivor_id=one.customer_id, merged_id=one.customer_id
            ),
            "MERGE_WITH_ITSELF",
        ),
        (
            merges_pb2.MergeCustomersRequest(
                request_id=new_id(),
                survivor_id=one.customer_id,
                merged_id=other.customer_id,
                take=["owner_id"],
            ),
            "FIELD_NOT_MERGEABLE",
        ),
        (
            merges_pb2.MergeCustomersRequest(
                request_id=new_id(), survivor_id=one.customer_id, merged_id=new_id()
            ),
            "CUSTOMER_NOT_FOUND",
        ),
    ):
        error: AppError = manager.refused(request)
        assert error.reason == reason
