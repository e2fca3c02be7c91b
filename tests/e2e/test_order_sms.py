"""Story: an order left unhandled makes exactly one SMS go out (F188, F189, O15, O16)."""

import pytest

from tests.e2e.company import Company, fresh_mobile
from tests.e2e.conftest import Inbox, Unique
from tests.e2e.desk import Desk, Json
from tests.e2e.test_lead_to_order import capture, followed, order_of
from tests.support.until import until


@pytest.fixture
def hurried(shop: Company) -> Company:
    """The shop with the modem, whose orders must be handled within three seconds."""
    shop.admin.patch("orders:settings", settings={"handleWithin": "3s"})
    return shop


def generated_order(company: Company, rep: Desk, manager: Desk, website: Desk) -> Json:
    """Win an opportunity and return its order."""
    lead_id = followed(manager, rep, capture(website, f"短信{fresh_mobile()}公司", fresh_mobile()))
    opportunity = {"name": "加急", "amount": "500"}
    converted = rep.post(f"leads/{lead_id}:convert", opportunity=opportunity)
    rep.post(f"opportunities/{converted['opportunityId']}:win")
    order = until(lambda: order_of(rep, converted["opportunityId"]), timeout_s=20)
    assert order is not None
    return order


def fate(rep: Desk, order: Json) -> str:
    """Return the state of the order's only reminder."""
    reminders = rep.get("reminders", subjectId=order["orderId"]).get("reminders", [])
    assert len(reminders) <= 1
    return str(reminders[0]["state"]) if reminders else ""


def test_an_unhandled_order_sends_exactly_one_sms_and_learns_its_delivery(
    hurried: Company, website: Desk, inbox: Inbox, unique: Unique
) -> None:
    manager = hurried.hire(unique("wang"), "王经理", "sales_manager")
    mobile = fresh_mobile()
    rep = hurried.hire(unique("li"), "李雷", "sales_rep", mobile=mobile)
    order = generated_order(hurried, rep, manager, website)
    until(lambda: inbox.to(mobile), timeout_s=30)
    until(lambda: fate(rep, order) == "REMINDER_STATE_DELIVERED", timeout_s=30)
    (message,) = inbox.to(mobile)
    assert order["number"] in message["text"]
    assert "订单" in message["text"]
    (sms,) = [item for item in hurried.admin.get("sms")["sms"] if order["number"] in item["text"]]
    assert sms["state"] == "SMS_STATE_DELIVERED"
    assert mobile not in str(sms)


def test_an_order_handled_in_time_sends_none(
    hurried: Company, website: Desk, inbox: Inbox, unique: Unique
) -> None:
    manager = hurried.hire(unique("wang"), "王经理", "sales_manager")
    mobile = fresh_mobile()
    rep = hurried.hire(unique("li"), "李雷", "sales_rep", mobile=mobile)
    order = generated_order(hurried, rep, manager, website)
    rep.post(f"orders/{order['orderId']}:accept")
    until(lambda: fate(rep, order) == "REMINDER_STATE_CANCELLED", timeout_s=30)
    # Another order's SMS passes after this one was due: then none is on its way either.
    later = generated_order(hurried, rep, manager, website)
    until(lambda: inbox.to(mobile), timeout_s=30)
    (message,) = inbox.to(mobile)
    assert later["number"] in message["text"]


def test_a_salesperson_without_a_mobile_is_told_in_the_app_and_so_is_the_manager(
    hurried: Company, website: Desk, unique: Unique
) -> None:
    """O16."""
    manager = hurried.hire(unique("wang"), "王经理", "sales_manager")
    rep = hurried.hire(unique("li"), "李雷", "sales_rep")
    order = generated_order(hurried, rep, manager, website)
    until(lambda: fate(rep, order) == "REMINDER_STATE_IN_APP_ONLY", timeout_s=30)
    for desk in (rep, manager):
        until(lambda desk=desk: order["number"] in str(desk.get("messages")))  # type: ignore[misc]  # bound at once
