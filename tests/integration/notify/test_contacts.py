"""Whom a person is to contact: lists that follow what happens, and a message about them once a day."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from services.chassis.db import Store
from services.chassis.errors import InvalidInput
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.notify.__main__ import handlers
from services.notify.domain.contacts import DueList, ReminderPolicy
from services.notify.store.tables import Message
from services.notify.usecases import contacts, dealings, follow_ups
from services.notify.workflows.activities import ReminderActivities
from services.notify.workflows.contracts import Sweep
from tests.integration.notify.test_reminders import World
from tests.support.running import event_of, take


@dataclass
class Desk:
    """A tenant whose time the test moves. start: noon in China, of today: rows that events write begin then."""

    store: Store
    tenant: Tenant
    start: datetime
    person_id: str = field(default_factory=new_id)

    def hear(
        self, source: str, event_type: str, version: int = 1, at: datetime | None = None, **data: Any
    ) -> None:
        """Let notify take an event, of now if no time is said."""
        event = event_of(self.tenant, source, event_type, data, version=version)
        take(self.store, handlers(), replace(event, time=at or event.time))

    def customer(self, name: str) -> str:
        """Give the person a customer."""
        customer_id = new_id()
        self.hear(
            "customers",
            "customer_created",
            customerId=customer_id,
            name=name,
            reservationId="",
            ownerId=self.person_id,
            poolId="",
        )
        return customer_id

    def plan(self, customer_id: str, name: str, due: timedelta, event_type: str = "plan_made") -> None:
        """Plan a follow-up for a customer, or say that it was done."""
        self.hear(
            "customers",
            event_type,
            planId=customer_id,
            customerId=customer_id,
            name=name,
            personId=self.person_id,
            text="回访",
            dueTime=(self.start + due).isoformat(),
        )

    def on(self, due_list: DueList, **later: float) -> list[str]:
        """Return the names on a list of the person, some time later."""
        with self.store.transaction(self.tenant, now=self.start + timedelta(**later)) as tx:
            return [each.name for each in contacts.due_contacts(tx, self.person_id, due_list, None, 50)]

    def sweep(self, **later: float) -> str:
        """Sweep some time later and return when the next one is due."""
        world = World()
        activities = ReminderActivities(self.store, world, world, world, {})
        now = self.start + timedelta(**later)
        return ActivityEnvironment().run(activities.sweep, Sweep(self.tenant, now.isoformat())).next_time

    def told(self, kind: str) -> list[str]:
        """Return the texts of the messages of a kind, oldest first."""
        with self.store.transaction(self.tenant) as tx:
            query = select(Message.text_zh).where(Message.tenant_id == self.tenant.id, Message.kind == kind)
            return list(tx.session.scalars(query.order_by(Message.create_time)))


@pytest.fixture
def desk(store: Store, main_tenant: Tenant) -> Desk:
    desk = Desk(store, main_tenant, datetime.now(UTC).replace(hour=4, minute=0, second=0, microsecond=0))
    desk.hear("identity", "tenant_created", tenantName="云海")
    with store.transaction(main_tenant, now=desk.start) as tx:
        dealings.save_policy(tx, ReminderPolicy())
    return desk


def test_planned_set_and_usual_contacts_are_on_the_list_of_their_day(desk: Desk) -> None:
    """F202: today, tomorrow, overdue, whatever says so: a plan, a reminder, the customer's own cadence."""
    planned, reminded, usual = (desk.customer(name) for name in ("计划", "提醒", "惯常"))
    desk.plan(planned, "计划", timedelta(hours=2))
    with desk.store.transaction(desk.tenant, now=desk.start) as tx:
        plan = follow_ups.Plan("拜访", desk.start + timedelta(days=1), 0, None, "customer", reminded, "提醒")
        follow_ups.set_reminder(tx, new_id(), desk.person_id, plan)
    for day in (-20, -10, 0):
        desk.hear(
            "customers",
            "follow_up_added",
            customerId=usual,
            name="惯常",
            ownerId=desk.person_id,
            authorId=desk.person_id,
            text="报价",
            time=(desk.start + timedelta(days=day)).isoformat(),
        )
    assert (desk.on(DueList.TODAY), desk.on(DueList.TOMORROW), desk.on(DueList.OVERDUE)) == (
        ["计划"],
        ["提醒"],
        [],
    )
    # The cadence of ten days is over after fifteen.
    assert desk.on(DueList.OVERDUE, days=16) == ["计划", "提醒", "惯常"]
    assert desk.on(DueList.TODAY, days=15) == ["惯常"]
    desk.plan(planned, "计划", timedelta(hours=2), "plan_completed")
    assert desk.on(DueList.TODAY) == []


def test_a_plan_whose_end_is_heard_of_first_never_shows(desk: Desk) -> None:
    """F202: the two come by two queues."""
    customer_id = desk.customer("先完成")
    for event_type in ("plan_completed", "plan_made"):
        desk.plan(customer_id, "先完成", timedelta(), event_type)
    assert desk.on(DueList.TODAY) == []


def test_nobody_keeps_a_customer_on_the_lists_that_is_not_theirs_any_more(desk: Desk) -> None:
    """F202, F203: it fell back into a pool."""
    customer_id = desk.customer("公海")
    desk.plan(customer_id, "公海", timedelta())
    desk.hear(
        "customers",
        "customer_reclaimed",
        version=2,
        customerId=customer_id,
        name="公海",
        fromOwnerId=desk.person_id,
        toOwnerId="",
        poolId=new_id(),
        cause="reclaim",
    )
    assert desk.on(DueList.TODAY) == []
    assert desk.on(DueList.NO_ORDER, days=365) == []


def test_everybody_is_told_once_a_day_whom_to_contact(desk: Desk) -> None:
    """F202: at the tenant's time; a sweep that died in the middle tells the rest and nobody twice."""
    for name in ("甲", "乙"):
        desk.plan(desk.customer(name), name, timedelta(days=1, hours=1))
    # The lists of the first morning were made before these were planned: today nobody is told.
    desk.sweep()
    assert desk.told("contacts_due") == []
    morning = timedelta(hours=20, minutes=30)
    for later in (morning, morning + timedelta(minutes=1), morning + timedelta(hours=3)):
        next_time = desk.sweep(seconds=later.total_seconds())
    assert desk.told("contacts_due") == ["今天应联系 2 位，明天 0 位，逾期未联系 0 位：乙、甲。"]
    assert datetime.fromisoformat(next_time) == desk.start + morning + timedelta(days=1)


def test_a_sweep_that_dies_while_it_tells_goes_on_with_the_rest(desk: Desk) -> None:
    """F202: killed after the first person's messages were written."""
    people = sorted(new_id() for _ in range(2))
    for person_id in people:
        desk.person_id = person_id
        desk.plan(desk.customer("甲"), "甲", timedelta(days=1))
    now = desk.start + timedelta(hours=20, minutes=30)
    with desk.store.transaction(desk.tenant, now=now) as tx:
        assert list(contacts.people_to_tell(tx)) == people
        contacts.tell(tx, people[0])
    desk.sweep(hours=20, minutes=31)
    assert len(desk.told("contacts_due")) == 2


def test_a_customer_without_an_order_in_time_is_told_to_its_owner_once(desk: Desk) -> None:
    """F203: by the policy's days while too little is known, by the customer's own gap as soon as it is."""
    first, regular = desk.customer("首单"), desk.customer("常客")
    start = datetime.now(UTC)
    with desk.store.transaction(desk.tenant, now=start) as tx:
        for day in (0, 10, 20):
            dealings.note_order(tx, regular, start + timedelta(days=day))
    assert desk.on(DueList.NO_ORDER, days=34) == []
    assert desk.on(DueList.NO_ORDER, days=37) == ["常客"]
    assert desk.on(DueList.NO_ORDER, days=92) == ["常客", "首单"]
    for day in (37, 38, 92, 93):
        desk.sweep(days=day)
    assert desk.told("orders_missing") == [
        "常客已超过惯常或规定的下单间隔，请跟进。",
        "首单已超过惯常或规定的下单间隔，请跟进。",
    ]
    # An order is an answer: the list forgets it, and the time begins anew.
    order: dict[str, Any] = {
        "orderId": new_id(),
        "number": "SO-1",
        "title": "空调",
        "ownerId": desk.person_id,
        "amount": "1.00",
    }
    desk.hear(
        "orders",
        "order_generated",
        **order,
        customerId=first,
        remindTime=(start + timedelta(days=900)).isoformat(),
        at=start + timedelta(days=94),
    )
    assert desk.on(DueList.NO_ORDER, days=95) == ["常客"]


def test_a_customer_that_is_silent_for_long_is_told_to_its_owner_once(desk: Desk) -> None:
    """F203: neither order nor follow-up, call or answer; any of them begins the time anew."""
    silent, called = desk.customer("沉默"), desk.customer("通话")
    with desk.store.transaction(desk.tenant) as tx:
        dealings.save_policy(tx, ReminderPolicy(order_days=0, silence_days=30))
    desk.hear(
        "telephony",
        "call_ended",
        customerId=called,
        answered=True,
        endTime=(desk.start + timedelta(days=20)).isoformat(),
    )
    assert desk.on(DueList.SILENT, days=31) == ["沉默"]
    assert desk.on(DueList.NO_ORDER, days=365) == []
    for day in (32, 33):
        desk.sweep(days=day)
    assert desk.told("customers_silent") == ["沉默已很久没有订单、跟进、通话或回复，请联系。"]
    desk.hear(
        "telephony",
        "sms_received",
        customerId=silent,
        customerName="沉默",
        ownerId=desk.person_id,
        text="好的",
    )
    with desk.store.transaction(desk.tenant, now=desk.start + timedelta(days=34)) as tx:
        dealings.note_contact(tx, silent, tx.now)
    assert desk.on(DueList.SILENT, days=35) == []


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (ReminderPolicy(daily_minute=1440), "daily_minute"),
        (ReminderPolicy(order_days=-1), "order_days"),
        (ReminderPolicy(silence_days=9999), "silence_days"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(desk: Desk, policy: ReminderPolicy, field: str) -> None:
    """F203."""
    with pytest.raises(InvalidInput) as refused, desk.store.transaction(desk.tenant) as tx:
        dealings.save_policy(tx, policy)
    assert refused.value.field == field
