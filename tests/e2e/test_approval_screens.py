"""Story: approvals on the pages, in a real browser over the running system.

An approver passes a registration and gives its customer to another; an administrator edits a flow, and whoever fills in
a request sees who would approve it; a request that is changed begins anew and shows what changed.
"""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.company import Company, fresh_mobile, fresh_name
from tests.e2e.screen import PATIENCE_MS, Screen
from tests.support.until import until

SignIn = Callable[[str, str], Screen]


def test_a_registration_is_passed_and_its_customer_given_to_another(
    company: Company, sign_in: SignIn
) -> None:
    """F169, F171-F173, F186: what the approver sees, decides, and does with the customer afterwards."""
    settings = company.admin.get("customers:settings")["settings"]
    company.admin.patch("customers:settings", settings={**settings, "registrationRequired": True})
    rep = company.hire("li", "李雷", "sales_rep")
    other = company.hire("han", "韩梅梅", "sales_rep")
    approver = company.hire("wang", "王经理", "sales_manager")
    name = fresh_name("浏览器报备")
    page = sign_in("li", "李雷")
    page.open("/customers")
    page.click("customer-create")
    page.fill("customer-new-name", name)
    page.fill("customer-new-phone", fresh_mobile())
    page.fits("register")
    page.choose("customer-new-approver", "王经理")
    page.click("customer-new-submit")
    expect(page.at("customer-new")).to_have_count(0, timeout=PATIENCE_MS)

    boss = sign_in("wang", "王经理")
    boss.open("/approvals")
    boss.says("approvals", name)
    boss.fits("inbox")
    boss.click("approval-link")
    boss.says("approval-shown", name)
    boss.fits("registration")
    boss.fill("decision-comment", "同意")
    boss.click("decision-pass")
    boss.says("step-decision", "同意")
    customer_id = approver.get("approvals", view="APPROVAL_VIEW_DECIDED")["approvals"][0]["subjectId"]

    def owner() -> str:
        customer = rep.get(f"customers/{customer_id}")["customer"]
        return str(customer["ownerId"]) if customer["state"] == "CUSTOMER_STATE_ACTIVE" else ""

    until(lambda: owner() == rep.person_id, timeout_s=60)
    boss.click("place-open")
    boss.fits("place")
    boss.choose("place-person", "韩梅梅")
    boss.click("place-submit")
    expect(boss.at("place")).to_have_count(0, timeout=PATIENCE_MS)
    assert other.get(f"customers/{customer_id}")["customer"]["ownerId"] == other.person_id


def test_a_flow_is_edited_and_a_request_says_who_would_approve_it(company: Company, sign_in: SignIn) -> None:
    """F177: all of two people from 1000 on; the preview of a request says who would be asked."""
    company.hire("wang", "王经理", "sales_manager")
    company.hire("zhou", "周总监", "director")
    company.hire("li", "李雷", "sales_rep")
    admin = sign_in("admin", "管理员")
    admin.open("/approval-flows")
    admin.choose("flow-type", "费用")
    admin.says("flow-version", "第 1 版")
    admin.shows("flow-step", 2)
    admin.at("flow-step-remove").last.click()
    admin.shows("flow-step", 1)
    admin.fill("flow-step-name", "会签")
    admin.choose("flow-step-way", "指定人员")
    admin.choose("flow-step-people", "王经理", "周总监")
    admin.choose("flow-step-mode", "会签")
    admin.click("flow-condition-add")
    admin.choose("flow-condition-field", "金额")
    admin.fill("flow-condition-value", "1000")
    admin.fits("flow")
    admin.click("flow-save")
    admin.says("flow-version", "第 2 版")
    admin.says("flow-versions", "会签")

    rep = sign_in("li", "李雷")
    rep.open("/approvals")
    rep.click("request-open")
    rep.fill("request-title", "展会差旅")
    rep.fill("request-amount", "800")
    rep.says("step-preview", "系统自动通过")
    rep.fill("request-amount", "1800")
    rep.says("step-preview", "周总监")
    rep.fits("request")
    rep.click("request-submit")
    rep.says("approvals", "展会差旅")


def test_a_request_that_is_changed_begins_anew_and_shows_what_changed(
    company: Company, sign_in: SignIn
) -> None:
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
    boss = sign_in("wang", "王经理")
    boss.open("/approvals")
    boss.click("approval-link")
    boss.says("approval-step", "审批")
    rep = sign_in("li", "李雷")
    rep.open("/approvals")
    rep.tab("我提交的")
    rep.click("approval-link")
    rep.click("request-again")
    rep.fill("request-amount", "2800")
    rep.click("request-submit")
    # The page of before says that its round is void; the next one says what changed.
    boss.says("approval-state", "已作废")
    boss.open("/approvals")
    boss.says("approval-changed", "1 处变更")
    boss.click("approval-link")
    boss.says("approval-change", "2,800.00")
    boss.fits("changes")
    boss.click("decision-pass")
    boss.says("step-decision", "王经理")
    boss.fits("history")
    boss.open("/approvals")
    boss.click("deputies-open")
    boss.shows("deputy", 1)
    boss.fits("deputies")
