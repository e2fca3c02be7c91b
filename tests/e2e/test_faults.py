"""Faults in mid-story: whatever is killed, the story ends as it should, nothing lost and nothing twice."""

import itertools
from collections.abc import Callable

import pytest

from deploy.local.stack import Stack
from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.conftest import RING_S, Inbox, Operator, Ring, Seat, Unique
from tests.e2e.desk import Desk, Json
from tests.e2e.test_lead_to_order import (
    capture,
    followed,
    open_approval,
    order_of,
    submit_with_papers,
)
from tests.e2e.test_order_sms import fate
from tests.e2e.test_registration import decide, register, state, waiting_for
from tests.support.until import until

# Processes that a story crosses, all replicas of each: killed together in the middle of one.
CROSSED = (
    ("customers-1", "customers-2"),
    ("leads-1", "leads-2", "worker"),
    ("dedupe-1", "dedupe-2"),
    ("orders-1", "orders-2", "events"),
    ("gateway-1", "gateway-2"),
    ("approvals-1", "approvals-2"),
    ("identity-1", "identity-2"),
    ("notify-1", "notify-2"),
    ("temporal",),
    ("postgresql",),
    ("rabbitmq",),
)
# Longest time a system of which a part was killed may say that it is unavailable, in seconds.
PATIENCE_S = 90.0


def lead_to_approved_order(company: Company, website: Desk, disturb: Callable[[], None]) -> None:
    """Take a lead to its approved order, and call `disturb` between any two steps."""
    manager = company.hire("wang", "王经理", "sales_manager")
    rep = company.hire("li", "李雷", "sales_rep")
    for desk in (manager, rep, website):
        desk.patience_s = PATIENCE_S
    lead = capture(website, fresh_name("断点"), fresh_mobile())
    disturb()
    lead_id = followed(manager, rep, lead)
    disturb()
    opportunity = {"name": "采购", "amount": "88.00"}
    converted = rep.post(f"leads/{lead_id}:convert", createContact=True, opportunity=opportunity)
    disturb()
    rep.post(f"opportunities/{converted['opportunityId']}:win")
    disturb()
    order = made_order(rep, converted["opportunityId"])
    submit_with_papers(manager, rep, order)
    disturb()
    approval = until(lambda: open_approval(manager, order["orderId"]), timeout_s=PATIENCE_S)
    assert approval is not None
    decide(manager, approval, "DECISION_PASS")
    disturb()

    def approved() -> bool:
        return bool(rep.get(f"orders/{order['orderId']}")["order"]["state"] == "ORDER_STATE_APPROVED")

    until(approved, timeout_s=PATIENCE_S)
    assert len(rep.get("opportunities")["opportunities"]) == 1
    assert len(rep.get("customers", view="CUSTOMER_VIEW_MINE")["customers"]) == 1


@pytest.mark.parametrize("first", [0, 5])
def test_each_process_killed_in_mid_story_finishes_it_after_its_restart(
    stack: Stack, company: Company, website: Desk, first: int
) -> None:
    """kill -9 of every replica of a service, or of a store, after each step: it comes back and the story goes on."""
    victims = itertools.cycle(CROSSED[first:] + CROSSED[:first])

    def disturb() -> None:
        for name in next(victims):
            stack.kill(name)

    lead_to_approved_order(company, website, disturb)


def test_the_broker_killed_in_mid_story_loses_no_event(
    stack: Stack, company: Company, website: Desk, operator: Operator
) -> None:
    """Every step works while RabbitMQ is down; what it should have told comes when it is back."""
    approver = company.hire("zhou", "周总监", "director")
    rep = company.hire("zhang", "张伟", "sales_rep")
    settings = company.admin.get("customers:settings")["settings"]
    company.admin.patch("customers:settings", settings={**settings, "registrationRequired": True})
    stack.kill("rabbitmq", stay_down=True)
    ids = [register(rep, approver, fresh_name("断网"), fresh_mobile()) for _ in range(5)]
    stack.start_process("rabbitmq")
    for customer_id in ids:
        decide(approver, waiting_for(approver, customer_id), "DECISION_PASS")
    until(lambda: all(state(rep, each) == "CUSTOMER_STATE_ACTIVE" for each in ids), timeout_s=60)
    assert operator.dead_letters() == 0


def made_order(rep: Desk, opportunity_id: str) -> Json:
    """Return the order of a won opportunity once it is there."""
    order = until(lambda: order_of(rep, opportunity_id), timeout_s=PATIENCE_S)
    if order is None:
        raise AssertionError("no order")
    return order


def test_the_modem_edge_killed_again_and_again_sends_each_reminder_once(
    stack: Stack, shop: Company, website: Desk, inbox: Inbox, unique: Unique
) -> None:
    """Decision 11: wherever the kill falls, no SMS goes out twice; what nobody knows is parked."""
    shop.admin.patch("orders:settings", settings={"handleWithin": "2s"})
    manager = shop.hire(unique("wang"), "王经理", "sales_manager")
    mobiles = [fresh_mobile() for _ in range(3)]
    orders: list[tuple[Desk, Json]] = []
    for mobile in mobiles:
        rep = shop.hire(unique("li"), "李雷", "sales_rep", mobile=mobile)
        lead_id = followed(manager, rep, capture(website, fresh_name("短信"), fresh_mobile()))
        converted = rep.post(f"leads/{lead_id}:convert", opportunity={"name": "加急", "amount": "5"})
        rep.post(f"opportunities/{converted['opportunityId']}:win")
        orders.append((rep, made_order(rep, converted["opportunityId"])))
        stack.kill("modem")
        stack.wait_healthy("modem")
    ends = {"REMINDER_STATE_SENT", "REMINDER_STATE_DELIVERED", "REMINDER_STATE_UNCERTAIN"}
    until(lambda: all(fate(rep, order) in ends for rep, order in orders), timeout_s=90)
    for mobile in mobiles:
        assert len(inbox.to(mobile)) <= 1


def test_the_broker_killed_before_an_order_is_made_sends_its_reminder_once(
    stack: Stack, shop: Company, website: Desk, inbox: Inbox, unique: Unique
) -> None:
    """Won while RabbitMQ is down: the order, its reminder and the SMS come when it is back."""
    shop.admin.patch("orders:settings", settings={"handleWithin": "2s"})
    manager = shop.hire(unique("wang"), "王经理", "sales_manager")
    mobile = fresh_mobile()
    rep = shop.hire(unique("li"), "李雷", "sales_rep", mobile=mobile)
    lead_id = followed(manager, rep, capture(website, fresh_name("断网"), fresh_mobile()))
    converted = rep.post(f"leads/{lead_id}:convert", opportunity={"name": "加急", "amount": "5"})
    stack.kill("rabbitmq", stay_down=True)
    rep.post(f"opportunities/{converted['opportunityId']}:win")
    stack.start_process("rabbitmq")
    order = made_order(rep, converted["opportunityId"])
    until(lambda: fate(rep, order) == "REMINDER_STATE_DELIVERED", timeout_s=60)
    assert len(inbox.to(mobile)) == 1


def calls_of(shop: Company, customer: dict[str, object]) -> list[Json]:
    """Return a customer's calls."""
    found: list[Json] = shop.admin.get("calls", customerId=str(customer["customerId"])).get("calls", [])
    return found


def test_the_broker_killed_while_it_rings_loses_neither_pop_nor_call(
    stack: Stack, shop: Company, ring: Ring, seat: Seat, operator: Operator
) -> None:
    """An open page gets a fresh snapshot as soon as the broker is back."""
    _, li = seat("李雷", "1001")
    mobile, name = fresh_mobile(), fresh_name("断网")
    customer = customer_of(li, name, mobile)
    with li.live() as page:
        stack.kill("rabbitmq", stay_down=True)
        ring(mobile, RING_S + 25)
        until(lambda: calls_of(shop, customer), timeout_s=20)
        assert page.pop_states(name) == []
        stack.start_process("rabbitmq")
        until(lambda: page.pop_states(name), timeout_s=60)
        # The caller hangs up by itself: one that is stopped only falls silent, and the PBX waits for it.
        until(lambda: page.pop_states(name)[-1] == "POP_STATE_WRAP_UP", timeout_s=60)
    assert [call["state"] for call in calls_of(shop, customer)] == ["CALL_STATE_ENDED"]
    assert operator.dead_letters() == 0


def test_the_edge_killed_in_mid_call_continues_it(
    stack: Stack, shop: Company, ring: Ring, seat: Seat
) -> None:
    """A restart in mid-call loses neither the call nor its pop nor its recording."""
    _, li = seat("李雷", "1001")
    mobile, name = fresh_mobile(), fresh_name("断线")
    customer = customer_of(li, name, mobile)
    with li.live() as page:
        caller = ring(mobile, RING_S + 8)
        until(lambda: page.has_shown(name, "POP_STATE_RINGING"), timeout_s=20)
        stack.kill("pbx")
        stack.wait_healthy("pbx")
        until(lambda: not caller.alive, timeout_s=40)
        until(lambda: page.pop_states(name)[-1] == "POP_STATE_WRAP_UP", timeout_s=30)
    (call,) = calls_of(shop, customer)
    assert (call["state"], call["answeredById"]) == ("CALL_STATE_ENDED", li.person_id)
    until(lambda: shop.admin.get(f"calls/{call['callId']}")["call"].get("recording"), timeout_s=30)


@pytest.mark.parametrize("gateway", [0, 1])
def test_either_gateway_serves_what_the_other_wrote(stack: Stack, company: Company, gateway: int) -> None:
    rep = company.hire("li", "李雷", "sales_rep")
    name = fresh_name("双活")
    customer_of(rep, name, fresh_mobile())
    other = company.at(stack.plan.addresses[gateway], "li")
    assert [item["name"] for item in other.get("customers", view="CUSTOMER_VIEW_MINE")["customers"]] == [name]
    other.close()
