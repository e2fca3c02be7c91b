"""Story: an agent's day at the desk, in a real browser: at an extension, on a break, with a caller to call back.

F218, F220, F226; conventions 7 to 10 of the field: states with reasons, a disposition, a countdown, one line for each
caller until somebody reaches him, and a number that is dialled without being shown.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from deploy.local.stack import Stack
from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.conftest import RING_S, Ring, Seat
from tests.e2e.test_call import PATIENCE_MS, Agent, open_page
from tests.support.until import until

# A dialled call rings here and then there before it is answered, on a machine that has other work, in milliseconds.
LONG_MS = 60_000


@pytest.fixture
def agent(browser: Browser, stack: Stack, shop: Company, seat: Seat) -> Iterator[Agent]:
    """A service agent whose own extension is 1001, not signed on yet."""
    login, desk = seat("韩梅梅", "1001", "service_agent")
    desk.post("agent:signOff")
    opened = open_page(browser, stack.plan.addresses[0], shop, login, "韩梅梅", desk)
    yield opened
    opened.context.close()


def stands(page: Page, state: str) -> None:
    """Wait until the page says where the agent stands."""
    expect(page.get_by_test_id("agent")).to_have_attribute("data-state", state, timeout=LONG_MS)


def choose(page: Page, choice: Locator) -> None:
    """Choose a state in the agent's own menu."""
    page.get_by_test_id("agent").click()
    choice.click()
    page.keyboard.press("Escape")


def follows_other_pages(agent: Agent) -> None:
    """A page that was open before shows at once what the agent does elsewhere."""
    stands(agent.page, "AGENT_STATE_OFFLINE")
    agent.desk.post("agent:signOn")
    stands(agent.page, "AGENT_STATE_IDLE")
    expect(agent.page.get_by_test_id("agent")).to_have_attribute("data-extension", "1001")
    agent.desk.post("agent:setState", state="AGENT_STATE_BUSY")
    stands(agent.page, "AGENT_STATE_BUSY")
    agent.desk.post("agent:setState", state="AGENT_STATE_IDLE")
    agent.desk.post("agent:signOff")


def dispose(agent: Agent, customer_id: str) -> None:
    """Say what came of the call on its card, which closes it: the note that was typed is kept."""
    page = agent.page
    page.get_by_test_id("pop-note").fill("想要样品")
    page.get_by_test_id("pop-disposition").click()
    page.get_by_test_id("pop-disposition-option").filter(has_text="有意向").click()
    expect(page.get_by_test_id("pop-panel")).to_have_count(0, timeout=PATIENCE_MS)
    stands(page, "AGENT_STATE_IDLE")
    calls = agent.desk.get("calls", customerId=customer_id)["calls"]
    assert [call["note"] for call in calls if call["disposition"] == "有意向"] == ["想要样品"]


def test_an_agent_works_a_day_at_the_desk(agent: Agent, shop: Company, stack: Stack, ring: Ring) -> None:
    page, pbx = agent.page, stack.pbx
    assert pbx is not None
    mobile = fresh_mobile()
    customer = customer_of(shop.admin, fresh_name("回拨"), mobile)

    follows_other_pages(agent)

    # Sign-on, and a break with its reason.
    stands(page, "AGENT_STATE_OFFLINE")
    page.get_by_test_id("agent").click()
    expect(page.get_by_test_id("agent-extension")).to_have_value("1001", timeout=PATIENCE_MS)
    page.get_by_test_id("agent-sign-on").click()
    stands(page, "AGENT_STATE_IDLE")
    page.keyboard.press("Escape")
    choose(page, page.get_by_test_id("agent-break").filter(has_text="用餐"))
    stands(page, "AGENT_STATE_BREAK")
    expect(page.get_by_test_id("agent")).to_have_attribute("aria-label", "分机 1001 · 小休 · 用餐")

    # Nobody answers: one line, with the caller's number masked.
    ring(mobile, RING_S / 2)
    page.goto(f"{stack.plan.addresses[0]}/calls")
    page.get_by_role("tab", name="未处理来电").click()

    def missed() -> Locator:
        page.get_by_test_id("missed-reload").click()
        return page.get_by_test_id("missed-row").filter(has_text=str(customer["name"]))

    until(lambda: missed().count() == 1, timeout_s=30)
    expect(missed()).to_contain_text("****")
    assert mobile not in page.content()

    # Called back by record: the own phone first, and the line goes by itself when the caller is reached.
    choose(page, page.get_by_test_id("agent-idle"))
    missed().get_by_test_id("missed-call-back").click()
    stands(page, "AGENT_STATE_TALKING")
    until(lambda: missed().count() == 0, timeout_s=60)
    assert mobile not in page.content()
    pbx.hang_up()
    stands(page, "AGENT_STATE_WRAP_UP")
    expect(page.get_by_test_id("agent-countdown")).to_be_visible()
    calls = shop.admin.get("calls", customerId=str(customer["customerId"]))["calls"]
    assert sorted(call["direction"] for call in calls) == [
        "CALL_DIRECTION_INBOUND",
        "CALL_DIRECTION_OUTBOUND",
    ]
    choose(page, page.get_by_test_id("agent-idle"))

    # A call comes in; what came of it is asked after it, and ends the wrap-up.
    until(lambda: pbx.takes_calls("1001"), timeout_s=30)
    ring(mobile, RING_S + 3)
    agent.state("POP_STATE_RINGING")
    agent.read("pop-customer-name", str(customer["name"]))
    stands(page, "AGENT_STATE_TALKING")
    agent.state("POP_STATE_WRAP_UP")
    expect(page.get_by_test_id("agent-countdown")).to_be_visible(timeout=PATIENCE_MS)
    dispose(agent, str(customer["customerId"]))

    # On the customer's page: the number stays hidden, and the phone rings all the same.
    page.goto(f"{stack.plan.addresses[0]}/customers/{customer['customerId']}")
    page.get_by_test_id("phone-dial").first.locator("button").first.click()
    stands(page, "AGENT_STATE_TALKING")
    assert mobile not in page.content()
    pbx.hang_up()
    stands(page, "AGENT_STATE_WRAP_UP")
