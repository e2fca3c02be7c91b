"""Story: the phone rings and the agent's screen pops with the caller (F218, F219, F222, F223)."""

import array
import io
import re
import wave
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from deploy.local.stack import Stack
from tests.e2e.company import PASSWORD, Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.conftest import RING_S, Ring, Seat
from tests.e2e.desk import Desk, Json
from tests.support.until import until

# Longest wait for something on a page, in milliseconds.
PATIENCE_MS = 15_000


@dataclass
class Agent:
    """An agent signed on to an extension, with the desktop open in a browser of their own."""

    login: str
    name: str
    desk: Desk
    context: BrowserContext
    page: Page

    def see(self, testid: str) -> None:
        """Wait until something is on the page."""
        expect(self.page.get_by_test_id(testid).first).to_be_visible(timeout=PATIENCE_MS)

    def read(self, testid: str, text: str) -> None:
        """Wait until something on the page says this."""
        expect(self.page.get_by_test_id(testid).first).to_contain_text(text, timeout=PATIENCE_MS)

    def state(self, state: str) -> None:
        """Wait until the pop is in this state."""
        shown = self.page.get_by_test_id("pop-state").first
        expect(shown).to_have_attribute("data-state", state, timeout=PATIENCE_MS)


def open_page(browser: Browser, url: str, company: Company, login: str, name: str, desk: Desk) -> Agent:
    """Sign in on the sign-in page as a person would."""
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(url)
    page.get_by_test_id("signin-tenant").fill(company.slug)
    page.get_by_test_id("signin-login").fill(login)
    page.get_by_test_id("signin-password").fill(PASSWORD)
    page.get_by_test_id("signin-submit").click()
    expect(page.get_by_test_id("user-name")).to_contain_text(name, timeout=PATIENCE_MS)
    return Agent(login, name, desk, context, page)


@pytest.fixture
def agents(browser: Browser, stack: Stack, shop: Company, seat: Seat) -> Iterator[tuple[Agent, Agent]]:
    """Two agents of the sales queue, each on another gateway."""
    seats = [(name, *seat(name, extension)) for name, extension in (("李雷", "1001"), ("张伟", "1002"))]
    pages = [
        open_page(browser, url, shop, login, name, desk)
        for url, (name, login, desk) in zip(stack.plan.addresses, seats, strict=True)
    ]
    yield pages[0], pages[1]
    for page in pages:
        page.context.close()


def call_of(desk: Desk, customer_id: str) -> Json | None:
    """Return a customer's only call."""
    calls = desk.get("calls", customerId=customer_id).get("calls", [])
    assert len(calls) <= 1
    return calls[0] if calls else None


def test_the_right_card_pops_while_it_rings_and_survives_until_the_notes(
    agents: tuple[Agent, Agent], ring: Ring
) -> None:
    li, zhang = agents
    mobile, name = fresh_mobile(), fresh_name("来电")
    customer = customer_of(li.desk, name, mobile, contact="韩梅梅")
    ring(mobile, RING_S + 10)
    for agent in agents:
        agent.state("POP_STATE_RINGING")
        agent.read("pop-customer-name", name)

    li.page.reload()
    li.see("pop-panel")
    li.read("pop-customer-name", name)

    li.state("POP_STATE_TALKING")
    zhang.read("pop-answered-by", "李雷")

    li.state("POP_STATE_WRAP_UP")
    li.page.get_by_test_id("pop-note").first.fill("客户询价，明天回电")
    li.page.get_by_test_id("pop-note-save").first.click()
    call = until(lambda: call_of(li.desk, str(customer["customerId"])), timeout_s=20)
    assert call is not None
    until(lambda: li.desk.get(f"calls/{call['callId']}")["call"].get("note") == "客户询价，明天回电")
    expect(zhang.page.get_by_test_id("pop-panel")).to_have_count(0, timeout=PATIENCE_MS)
    li.page.get_by_test_id("pop-close").first.click()
    expect(li.page.get_by_test_id("pop-panel")).to_have_count(0, timeout=PATIENCE_MS)

    recorded = until(lambda: recording_of(li.desk, call["callId"]), timeout_s=30)
    assert recorded is not None
    assert recorded["answeredById"] == li.desk.person_id
    check_recording(li.desk, recorded)


def recording_of(desk: Desk, call_id: str) -> Json | None:
    """Return the call once its recording is linked."""
    call: Json = desk.get(f"calls/{call_id}")["call"]
    return call if call.get("recording") else None


def check_recording(desk: Desk, call: Json) -> None:
    """The WAV plays, is as long as was said, is not silence, and can be fetched in parts."""
    path = f"/api/v1/calls/{call['callId']}/recording"
    whole = desk.http.get(path)
    assert whole.status_code == httpx.codes.OK
    with wave.open(io.BytesIO(whole.content)) as sound:
        seconds = sound.getnframes() / sound.getframerate()
        assert sound.getsampwidth() == 2
        samples = array.array("h", sound.readframes(sound.getnframes()))
    assert seconds >= 3
    assert abs(seconds - float(call["recording"]["duration"].removesuffix("s"))) < 0.2
    # The caller's tone, well above any line noise.
    assert max(samples) > 1000
    part = desk.http.get(path, headers={"Range": "bytes=44-143"})
    assert part.status_code == httpx.codes.PARTIAL_CONTENT
    assert part.content == whole.content[44:144]
    beyond = desk.http.get(path, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE


def test_an_unknown_number_offers_a_form_that_holds_it(agents: tuple[Agent, Agent], ring: Ring) -> None:
    """Convention 1 of screen pops: no match is a new record, not nothing."""
    li, _ = agents
    mobile, name = fresh_mobile(), fresh_name("新客")
    ring(mobile, RING_S + 8)
    li.see("pop-new-record")
    field = li.page.get_by_test_id("pop-new-phone").locator("input, :scope").first
    expect(field).to_have_value(re.compile(rf"^(\+86)? ?{mobile}$"), timeout=PATIENCE_MS)
    li.page.get_by_test_id("pop-new-name").locator("input, :scope").first.fill(name)
    li.page.get_by_test_id("pop-new-submit").first.click()
    mine = until(lambda: li.desk.get("customers", view="CUSTOMER_VIEW_MINE", query=name).get("customers"))
    assert mine is not None
    call = until(lambda: call_of(li.desk, mine[0]["customerId"]), timeout_s=20)
    assert call is not None
    assert call["customerName"] == name
    # A caller that is killed in mid-call would leave the agent's phone busy for the next test.
    li.state("POP_STATE_WRAP_UP")


def test_a_caller_who_gives_up_leaves_no_ghost(agents: tuple[Agent, Agent], ring: Ring) -> None:
    li, _ = agents
    mobile = fresh_mobile()
    customer = customer_of(li.desk, fresh_name("挂断"), mobile)
    ring(mobile, RING_S / 2)
    li.state("POP_STATE_RINGING")
    expect(li.page.get_by_test_id("pop-panel")).to_have_count(0, timeout=PATIENCE_MS)
    call = until(lambda: call_of(li.desk, str(customer["customerId"])))
    assert call is not None
    assert call["state"] == "CALL_STATE_MISSED"


def test_asterisk_restarted_is_found_again(agents: tuple[Agent, Agent], stack: Stack, ring: Ring) -> None:
    """Decision 13: the link comes back by itself, no pop is left over, and the next call pops."""
    li, _ = agents
    mobile, name = fresh_mobile(), fresh_name("重启")
    customer_of(li.desk, name, mobile)
    ring(mobile, 30)
    li.state("POP_STATE_RINGING")
    stack.kill("asterisk", stay_down=True)
    stack.start_process("asterisk")
    expect(li.page.get_by_test_id("pop-panel")).to_have_count(0, timeout=60_000)
    again = fresh_mobile()
    again_id = str(customer_of(li.desk, f"{name}二", again)["customerId"])

    def pops() -> bool:
        call = ring(again, RING_S / 2)
        until(lambda: not call.alive, timeout_s=30)
        return bool(li.desk.get("calls", customerId=again_id).get("calls"))

    until(pops, timeout_s=60)
    ring(again, RING_S / 2)
    li.read("pop-customer-name", f"{name}二")
