"""Story in a real browser: a registration as rep and approver see it, a request that is changed, a flow that is edited.

SCREENSHOTS=folder keeps what each page looked like, on a desktop and on a phone.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.local.stack import Stack
from tests.e2e.company import PASSWORD, Company, fresh_mobile, fresh_name
from tests.e2e.desk import Desk
from tests.support.until import until

# Longest wait for something on a page, in milliseconds; a busy machine draws slowly.
PATIENCE_MS = 60_000
DESKTOP = (1280, 800)
PHONE = (375, 812)

Sign = Callable[[str], Page]


@pytest.fixture
def sign(browser: Browser, stack: Stack, company: Company) -> Iterator[Sign]:
    """Return what signs somebody in on a page of their own."""
    contexts = []

    def on(login: str) -> Page:
        context = browser.new_context(locale="zh-CN", viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(stack.plan.addresses[0])
        page.get_by_test_id("signin-tenant").fill(company.slug)
        page.get_by_test_id("signin-login").fill(login)
        page.get_by_test_id("signin-password").fill(PASSWORD)
        page.get_by_test_id("signin-submit").click()
        expect(page.get_by_test_id("user-name")).to_be_visible(timeout=PATIENCE_MS)
        return page

    yield on
    for context in contexts:
        context.close()


def fits(page: Page, name: str) -> None:
    """Look at a page in both widths: nothing of it may stick out sideways."""
    for width, height in (PHONE, DESKTOP):
        page.set_viewport_size({"width": width, "height": height})
        until(
            lambda: page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), timeout_s=30
        )
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            # What slides in has arrived once it stands still.
            page.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")
            page.screenshot(path=Path(folder) / f"{name}-{width}.png")


def see(page: Page, testid: str, text: str) -> None:
    """Wait until something on the page says this."""
    expect(page.get_by_test_id(testid).first).to_contain_text(text, timeout=PATIENCE_MS)


def choose(page: Page, testid: str, text: str) -> None:
    """Choose from a list that drops down."""
    page.get_by_test_id(testid).last.click()
    page.locator(".el-select-dropdown__item:visible", has_text=text).first.click()


def state(desk: Desk, customer_id: str) -> str:
    """Return a customer's state."""
    return str(desk.get(f"customers/{customer_id}")["customer"]["state"])


def test_a_registration_is_passed_and_its_customer_given_to_another(company: Company, sign: Sign) -> None:
    """F169, F171-F173, F186: what the approver sees, decides, and does with the customer afterwards."""
    settings = company.admin.get("customers:settings")["settings"]
    company.admin.patch("customers:settings", settings={**settings, "registrationRequired": True})
    rep = company.hire("li", "李雷", "sales_rep")
    other = company.hire("han", "韩梅梅", "sales_rep")
    approver = company.hire("wang", "王经理", "sales_manager")
    name = fresh_name("浏览器报备")
    page = sign("li")
    page.get_by_test_id("menu-customers").click()
    page.get_by_test_id("customer-create").click()
    page.get_by_test_id("customer-new-name").fill(name)
    page.get_by_test_id("customer-new-phone").fill(fresh_mobile())
    fits(page, "register")
    choose(page, "customer-new-approver", "王经理")
    page.get_by_test_id("customer-new-submit").click()
    expect(page.get_by_test_id("customer-new")).to_have_count(0, timeout=PATIENCE_MS)

    boss = sign("wang")
    boss.get_by_test_id("menu-approvals").click()
    see(boss, "approvals", name)
    fits(boss, "inbox")
    boss.get_by_test_id("approval-link").first.click()
    see(boss, "approval-shown", name)
    fits(boss, "registration")
    boss.get_by_test_id("decision-comment").fill("同意")
    boss.get_by_test_id("decision-pass").click()
    see(boss, "step-decision", "同意")
    customer_id = str(approver.get("approvals", view="APPROVAL_VIEW_DECIDED")["approvals"][0]["subjectId"])
    until(lambda: state(rep, customer_id) == "CUSTOMER_STATE_ACTIVE", timeout_s=60)
    boss.get_by_test_id("place-open").click()
    fits(boss, "place")
    choose(boss, "place-person", "韩梅梅")
    boss.get_by_test_id("place-submit").click()
    until(
        lambda: other.get(f"customers/{customer_id}")["customer"].get("ownerId") == other.person_id,
        timeout_s=60,
    )


def test_a_flow_is_edited_and_a_request_says_who_would_approve_it(company: Company, sign: Sign) -> None:
    """F177: all of two people from 1000 on; the preview of a request says who would be asked."""
    company.hire("wang", "王经理", "sales_manager")
    company.hire("zhou", "周总监", "director")
    company.hire("li", "李雷", "sales_rep")
    admin = sign("admin")
    admin.get_by_test_id("menu-flows").click()
    choose(admin, "flow-type", "费用")
    see(admin, "flow-version", "第 1 版")
    expect(admin.get_by_test_id("flow-step")).to_have_count(2, timeout=PATIENCE_MS)
    admin.get_by_test_id("flow-step-remove").last.click()
    step = admin.get_by_test_id("flow-step").first
    step.get_by_test_id("flow-step-name").fill("会签")
    choose(admin, "flow-step-way", "指定人员")
    choose(admin, "flow-step-people", "王经理")
    admin.locator(".el-select-dropdown__item:visible", has_text="周总监").first.click()
    admin.keyboard.press("Escape")
    choose(admin, "flow-step-mode", "会签")
    admin.get_by_test_id("flow-condition-add").click()
    choose(admin, "flow-condition-field", "金额")
    admin.get_by_test_id("flow-condition-value").fill("1000")
    fits(admin, "flow")
    admin.get_by_test_id("flow-save").click()
    see(admin, "flow-version", "第 2 版")
    see(admin, "flow-versions", "会签")

    rep = sign("li")
    rep.get_by_test_id("menu-approvals").click()
    rep.get_by_test_id("request-open").click()
    rep.get_by_test_id("request-title").fill("展会差旅")
    rep.get_by_test_id("request-amount").fill("800")
    see(rep, "step-preview", "系统自动通过")
    rep.get_by_test_id("request-amount").fill("1800")
    see(rep, "step-preview", "周总监")
    fits(rep, "request")
    rep.get_by_test_id("request-submit").click()
    see(rep, "approvals", "展会差旅")


def test_a_request_that_is_changed_begins_anew_and_shows_what_changed(company: Company, sign: Sign) -> None:
    """F181: the round that was shown is void; the next one says what is different, and history who decided."""
    wang = company.hire("wang", "王经理", "sales_manager")
    li = company.hire("li", "李雷", "sales_rep")
    company.admin.get("approvalFlows")
    company.admin.post(
        "approvalFlows:update",
        subjectType="SUBJECT_TYPE_EXPENSE",
        version="1",
        steps=[{"name": "审批", "personIds": [wang.person_id]}],
    )
    li.post("approvalRequests", subjectType="SUBJECT_TYPE_EXPENSE", title="展会差旅", amount="1800")
    rep = sign("li")
    rep.get_by_test_id("menu-approvals").click()
    rep.get_by_role("tab", name="我提交的").click()
    boss = sign("wang")
    boss.get_by_test_id("menu-approvals").click()
    boss.get_by_test_id("approval-link").first.click()
    see(boss, "approval-step", "审批")
    rep.get_by_test_id("approval-link").first.click()
    rep.get_by_test_id("request-again").click()
    rep.get_by_test_id("request-amount").fill("2800")
    rep.get_by_test_id("request-submit").click()
    # The page of before says that its round is void; the next one says what changed.
    see(boss, "approval-state", "已作废")
    boss.get_by_test_id("menu-approvals").click()
    see(boss, "approval-changed", "1 处变更")
    boss.get_by_test_id("approval-link").first.click()
    see(boss, "approval-change", "2,800.00")
    fits(boss, "changes")
    boss.get_by_test_id("decision-pass").click()
    see(boss, "step-decision", "王经理")
    fits(boss, "history")
    boss.get_by_test_id("menu-approvals").click()
    boss.get_by_test_id("deputies-open").click()
    expect(boss.get_by_test_id("deputy")).to_be_visible(timeout=PATIENCE_MS)
    fits(boss, "deputies")
