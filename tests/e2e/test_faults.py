"""Faults in mid-story: whatever is killed, the story ends as it should, nothing lost and nothing twice."""

import itertools
from collections.abc import Callable

import pytest

from deploy.local.stack import Stack
from services.chassis.ids import new_id
from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.conftest import Inbox, Operator, Unique
from tests.e2e.desk import Desk, Json, Refused
from tests.e2e.test_lead_to_order import capture, followed, open_approval, order_of
from tests.e2e.test_order_sms import fate
from tests.e2e.test_registration import decide, register, state, waiting_for
from tests.support.until import until

# Processes that a story crosses; each is killed in the middle of one.
CROSSED = (
    "customers-1",
    "dedupe-1",
    "leads-1",
    "orders-1",
    "approvals-1",
    "notify-1",
    "identity-1",
    "gateway-2",
    "events",
    "worker",
)


def patiently(act: Callable[[], Json]) -> Json:
    """Do what a person does who sees "unavailable": try again, with the same request."""

    def attempt() -> Json | None:
        try:
            return act()
        except Refused as refused:
            if refused.status in (502, 503, 504):
                return None
            raise

    done = until(attempt, timeout_s=60)
    if done is None:
        raise AssertionError("never done")
    return done


def lead_to_approved_order(company: Company, website: Desk, disturb: Callable[[], None]) -> None:
    """Take a lead to its approved order, and call `disturb` between any two steps."""
    manager = company.hire("wang", "王经理", "sales_manager")
    rep = company.hire("li", "李雷", "sales_rep")
    lead = capture(website, fresh_name("断点"), fresh_mobile())
    disturb()
    lead_id = followed(manager, rep, lead)
    disturb()
    request_id = new_id()
    converted = patiently(
        lambda: rep.post(
            f"leads/{lead_id}:convert",
            requestId=request_id,
            createContact=True,
            opportunity={"name": "采购", "amount": "88.00"},
        )
    )
    disturb()
    win_id = new_id()
    patiently(lambda: rep.post(f"opportunities/{converted['opportunityId']}:win", requestId=win_id))
    disturb()
    order = made_order(rep, converted["opportunityId"])
    submit_id = new_id()
    patiently(lambda: rep.post(f"orders/{order['orderId']}:submit", requestId=submit_id))
    disturb()
    approval = until(lambda: open_approval(manager, order["orderId"]), timeout_s=60)
    assert approval is not None
    decide(manager, approval, "DECISION_PASS")
    disturb()
    until(
        lambda: rep.get(f"orders/{order['orderId']}")["order"]["state"] == "ORDER_STATE_APPROVED",
        timeout_s=60,
    )
    assert len(rep.get("opportunities")["opportunities"]) == 1
    assert len(rep.get("customers", view="CUSTOMER_VIEW_MINE")["customers"]) == 1


def test_each_process_killed_in_mid_story_finishes_it_after_its_restart(
    stack: Stack, company: Company, website: Desk
) -> None:
    """kill -9 of two processes after every step, each comes back by itself."""
    victims = itertools.cycle(CROSSED)

    def disturb() -> None:
        for name in itertools.islice(victims, 2):
            stack.wait_healthy(name)
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
    order = until(lambda: order_of(rep, opportunity_id), timeout_s=30)
    if order is None:
        raise AssertionError("no order")
    return order


def test_the_modem_edge_killed_again_and_again_sends_each_reminder_once(
    stack: Stack, shop: Company, website: Desk, inbox: Inbox, unique: Unique
) -> None:
    """Decision 11: a kill between Ctrl-Z and the answer parks the SMS; it is never sent twice."""
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


def test_the_edge_killed_in_mid_call_continues_it(stack: Stack, shop: Company, unique: Unique) -> None:
    """A restart in mid-call neither loses the call nor leaves a pop."""
    rep = shop.hire(unique("anna"), "安娜", "sales_rep")
    mobile = fresh_mobile()
    customer = customer_of(rep, fresh_name("断线"), mobile)
    assert stack.pbx
    caller = stack.pbx.call(mobile, seconds=8)

    def calls() -> list[Json]:
        found: list[Json] = rep.get("calls", customerId=str(customer["customerId"])).get("calls", [])
        return found

    until(calls, timeout_s=20)
    stack.kill("pbx")
    stack.wait_healthy("pbx")
    until(lambda: not caller.alive, timeout_s=30)
    caller.stop()
    until(
        lambda: [call["state"] for call in calls()] in (["CALL_STATE_ENDED"], ["CALL_STATE_MISSED"]),
        timeout_s=30,
    )
    call_id = calls()[0]["callId"]
    until(lambda: rep.get(f"calls/{call_id}")["call"].get("recording"), timeout_s=30)


@pytest.mark.parametrize("gateway", [0, 1])
def test_either_gateway_serves_what_the_other_wrote(stack: Stack, company: Company, gateway: int) -> None:
    rep = company.hire("li", "李雷", "sales_rep")
    name = fresh_name("双活")
    customer_of(rep, name, fresh_mobile())
    other = company.at(stack.plan.addresses[gateway], "li")
    assert [item["name"] for item in other.get("customers", view="CUSTOMER_VIEW_MINE")["customers"]] == [name]
    other.close()
