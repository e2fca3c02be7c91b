"""Story: a lead becomes an order on the pages, in a real browser over the running system.

A rep claims from a pool of the role's, follows up, and is asked which of two same-name customers the lead is; drags the
opportunity over the board and wins it; fills the order in and submits it to an approver who sees what is in it.
"""

from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, expect

from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.desk import Desk, Json, Refused
from tests.e2e.screen import PATIENCE_MS, Screen
from tests.e2e.test_lead_to_order import capture, order_of
from tests.support.until import until

SignIn = Callable[[str, str], Screen]
PROOF = FilePayload(name="回单.pdf", mimeType="application/pdf", buffer=b"%PDF-1.7")


def namesakes(company: Company, desk: Desk, name: str) -> set[object]:
    """Make two customers of one name, the second while the rule was off; return their ids."""
    rules = company.admin.get("dedupe/rules")["rules"]
    (rule,) = (
        rule
        for rule in rules
        if (rule["kind"], rule["field"]) == ("SUBJECT_KIND_CUSTOMER", "RULE_FIELD_NAME")
    )
    path = f"dedupe/rules/{rule['ruleId']}"
    company.admin.patch(path, active=False)
    found = {customer_of(desk, name, fresh_mobile())["customerId"] for _ in range(2)}
    company.admin.patch(path, active=True)
    return found


def opportunity_of(rep: Desk, amount: str) -> Json:
    """Turn an own lead into an opportunity."""
    lead = rep.post("leads", name="韩梅梅", company=fresh_name("成单"), phone=fresh_mobile())["lead"]
    rep.post(f"leads/{lead['leadId']}/followUps", text="有意向")
    opportunity = {"name": "年度采购", "amount": amount}
    converted: Json = rep.post(f"leads/{lead['leadId']}:convert", createContact=True, opportunity=opportunity)
    return converted


def test_a_lead_is_claimed_followed_up_and_converted_on_the_pages(company: Company, sign_in: SignIn) -> None:
    """F26, F118, F123, F129, O5: a pool for a role; of two same-name customers the rep says which one."""
    rep = company.hire("li", "李雷", "sales_rep")
    name = fresh_name("同名")
    both = namesakes(company, rep, name)
    admin = sign_in("admin", "管理员")
    admin.open("/pools?tab=leads")
    admin.click("lead-pool-create")
    admin.fill("lead-pool-form-name", "销售线索池")
    admin.choose("lead-pool-form-roles", "销售员")
    admin.fits("lead-pool")
    admin.click("lead-pool-form-submit")
    admin.shows("lead-pools-row", 2)
    pool = company.admin.get("leadPools")["pools"][1]
    assert pool["roles"] == ["sales_rep"]
    given = {"name": "韩梅梅", "company": name, "phone": fresh_mobile(), "poolId": pool["poolId"]}
    lead_id = company.admin.post("leads", **given)["lead"]["leadId"]
    company.admin.post(f"leads/{lead_id}:return")

    page = sign_in("li", "李雷")
    page.open("/leads")
    page.shows("leads-row", 1)
    page.fits("leads")
    page.click("lead-claim")
    page.click("lead-follow")
    page.fill("lead-follow-up-text", "已电话联系")
    page.fits("lead-follow-up")
    page.click("lead-follow-up-submit")
    page.at("lead-views").get_by_text("看板").click()
    following = page.page.locator('[data-column="LEAD_STATE_FOLLOWING"]')
    expect(following.get_by_test_id("lead-board-card")).to_have_count(1, timeout=PATIENCE_MS)
    page.fits("lead-board")
    following.get_by_role("link").click()
    page.shows("lead-change", 4)
    page.fits("lead")
    page.open("/leads")
    page.click("lead-convert")
    page.click("convert-opportunity")
    page.fill("convert-opportunity-name", "年度采购")
    page.fill("convert-amount", "12000")
    page.click("convert-submit")
    page.shows("convert-candidate", 2)
    page.fits("convert")
    page.at("convert-candidate").nth(1).click()
    page.click("convert-submit")
    expect(page.at("convert")).to_have_count(0, timeout=PATIENCE_MS)
    (opportunity,) = rep.get("opportunities")["opportunities"]
    assert opportunity["customerId"] in both


def test_an_outside_source_is_let_in_on_the_pages(company: Company, sign_in: SignIn) -> None:
    """F136: a key that may send leads and nothing else, shown once, revoked; a registered source signs, and ends."""
    admin = sign_in("admin", "管理员")
    admin.open("/settings")
    admin.click("capture-key-add")
    admin.fill("capture-form-name", "官网")
    admin.click("capture-form-submit")
    admin.says("capture-secret", "官网")
    secret = admin.at("capture-secret").locator("code").inner_text()
    website = Desk(company.url, token=secret)
    lead = capture(website, fresh_name("来客"), fresh_mobile())
    assert company.admin.get(f"leads/{lead['leadId']}")["lead"]["state"] == "LEAD_STATE_UNASSIGNED"
    admin.click("capture-source-add")
    admin.fill("capture-form-name", "website")
    admin.click("capture-form-submit")
    admin.shows("capture-source", 1)
    admin.fits("capture")
    with pytest.raises(Refused) as refused:
        capture(website, fresh_name("来客"), fresh_mobile())
    assert refused.value.reason == "SIGNATURE_MISSING"
    admin.click("capture-source-end")
    admin.page.locator(".el-message-box .el-button--primary").click()
    admin.shows("capture-source-ended", 1)
    admin.shows("api-key", 1)
    admin.click("api-key-revoke")
    admin.page.locator(".el-message-box .el-button--primary").click()
    admin.shows("api-key", 0)

    def refusal() -> str:
        with pytest.raises(Refused) as refused:
            capture(website, fresh_name("来客"), fresh_mobile())
        return refused.value.reason

    # Whoever knew the key asks every second which have ended.
    until(lambda: refusal() == "SESSION_ENDED")
    website.close()


def test_an_opportunity_is_moved_forecast_and_won_on_the_pages(company: Company, sign_in: SignIn) -> None:
    """F55, F78, F80, F50: dragged into the next stage, weighted by its probability, and then an order."""
    rep = company.hire("li", "李雷", "sales_rep")
    opportunity_id = opportunity_of(rep, "12000")["opportunityId"]
    stage = rep.get("opportunityStages")["stages"][1]
    page = sign_in("li", "李雷")
    page.open("/opportunities")
    column = page.page.locator(f'[data-column="{stage["stageId"]}"]')
    page.at("opportunity-board-card").drag_to(column)
    expect(column.get_by_test_id("opportunity-board-card")).to_have_count(1, timeout=PATIENCE_MS)
    page.fits("kanban")
    page.at("opportunity-views").get_by_text("预测").click()
    page.says("opportunity-forecast", f"{12000 * stage['probability'] // 100:,}")
    page.fits("forecast")
    page.open("/opportunities")
    page.click("opportunity-link")
    page.shows("opportunity-drawer", 1)
    page.fits("opportunity")
    page.open("/opportunities")
    page.click("opportunity-win")
    page.page.get_by_role("button", name="确定").click()
    page.shows("opportunity-board-card", 0)
    until(lambda: order_of(rep, opportunity_id), timeout_s=60)


def test_an_order_is_filled_in_submitted_and_seen_by_its_approver(company: Company, sign_in: SignIn) -> None:
    """F51, F83, F86, F175: what is missing is said; lines, a contract and a proof make it whole."""
    company.hire("wang", "王经理", "sales_manager")
    rep = company.hire("li", "李雷", "sales_rep")
    product = {"code": "P-1", "name": "空调", "unit": "台", "price": "4000.00", "active": True}
    company.admin.post("products", product=product)
    opportunity_id = opportunity_of(rep, "8000")["opportunityId"]
    rep.post(f"opportunities/{opportunity_id}:win")
    until(lambda: order_of(rep, opportunity_id), timeout_s=60)
    page = sign_in("li", "李雷")
    page.open("/orders")
    page.shows("orders-row", 1)
    page.fits("orders")
    page.click("order-submit")
    expect(page.page.locator(".el-message").last).to_contain_text("合同", timeout=PATIENCE_MS)
    page.click("order-papers-open")
    page.choose("line-product-0", "空调")
    page.fill("line-quantity-0", "2")
    papers = page.at("order-papers")
    page.click("order-lines-save")
    expect(papers).to_contain_text("8,000.00", timeout=PATIENCE_MS)
    papers.get_by_placeholder("开始日期").fill("2026-01-01")
    papers.get_by_placeholder("结束日期").fill("2036-12-31")
    page.page.keyboard.press("Enter")
    page.fits("order-papers")
    page.click("order-contract-save")
    expect(page.at("order-contract-save")).to_have_count(0, timeout=PATIENCE_MS)
    page.at("file-add-ATTACHMENT_KIND_PAYMENT_PROOF").set_input_files(PROOF)
    page.says("file", "回单.pdf")
    page.page.keyboard.press("Escape")
    page.click("order-submit")
    page.says("orders-row", "审批中")
    page.click("order-link")
    page.shows("order-change", 3)
    page.fits("order")
    page.open("/contracts")
    page.click("contract-link")
    page.shows("contract-drawer", 1)
    page.fits("contract")
    page.at("contract-drawer").get_by_test_id("contract-update").click()
    page.shows("contract-form", 1)
    page.fits("contract-form")

    boss = sign_in("wang", "王经理")
    boss.open("/approvals")
    boss.click("approval-link")
    boss.says("approval-shown", "空调")
    boss.fits("order-approval")
