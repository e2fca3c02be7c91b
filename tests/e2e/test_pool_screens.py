"""Story: pools on the pages, in a real browser over the running system.

A manager makes a pool with a rule that was tried before, caps and an allocation rule; a rep filters, claims several at
once, sees what became of each, and asks why a customer will be lost; the manager gives out, throws away, restores, and
hands a leaver's customers over.
"""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.screen import PATIENCE_MS, Screen


def pooled(company: Company, pool_id: str, count: int, **fields: str) -> list[str]:
    """Put customers into a pool; return their ids."""
    return [
        company.admin.post(
            "customers", name=fresh_name("池"), phones=[{"number": fresh_mobile()}], poolId=pool_id, **fields
        )["customer"]["customerId"]
        for _ in range(count)
    ]


def test_a_manager_sets_pools_up_on_the_pages(
    company: Company, sign_in: Callable[[str, str], Screen]
) -> None:
    """F18, F19, F26, F27, F31, F32: a pool with a rule, tried before it is saved; a cap that adjusts; allocation."""
    company.hire("li", "李雷", "sales_rep")
    screen = sign_in("admin", "管理员")
    screen.open("/pools")
    screen.click("pool-create")
    screen.fill("pool-form-name", "渠道公海")
    screen.fill("pool-form-kind", "渠道")
    screen.tab("领取限制")
    screen.fill("pool-form-daily-claims", "3")
    screen.fill("pool-form-cool-down-days", "7")
    screen.tab("回收规则")
    screen.fill("pool-form-idle-days", "60")
    screen.click("pool-form-clause-add")
    screen.click("pool-form-clause-add")
    screen.shows("pool-form-clause", 2)
    screen.click("pool-form-submit")
    screen.shows("pools-row", 2)
    saved = next(pool for pool in company.admin.get("pools")["pools"] if pool["name"] == "渠道公海")
    assert (saved["kind"], saved["dailyClaims"], saved["coolDownDays"]) == ("渠道", 3, 7)
    assert [(one["idleDays"], one["contractDays"]) for one in saved["rule"]["clauses"]] == [(60, 0), (0, 180)]

    # What is not touched stays, and a rule is tried before it is saved.
    row = screen.at("pools-row").filter(has_text="渠道公海")
    row.get_by_test_id("pool-edit").click()
    screen.tab("回收规则")
    screen.click("rule-try")
    expect(screen.at("rule-verdict")).to_have_attribute("data-customers", "0", timeout=PATIENCE_MS)
    screen.click("pool-form-submit")
    expect(screen.at("pool-form")).to_have_count(0, timeout=PATIENCE_MS)
    again = next(pool for pool in company.admin.get("pools")["pools"] if pool["name"] == "渠道公海")
    assert {**again, "version": saved["version"]} == saved

    screen.open("/pools?tab=caps")
    screen.click("cap-create")
    screen.fill("cap-form-name", "李雷的上限")
    screen.fill("cap-form-most", "2")
    screen.choose("cap-form-people", "李雷")
    screen.click("cap-form-adjusts")
    screen.fill("cap-form-adjustment-step", "5")
    screen.click("cap-form-submit")
    screen.shows("caps-row", 1)
    (cap,) = company.admin.get("caps")["caps"]
    assert (cap["most"], cap["adjustment"]["windowDays"], cap["adjustment"]["step"]) == (2, 90, 5)

    screen.open("/pools?tab=allocation")
    screen.click("allocation-create")
    screen.fill("allocation-form-name", "轮流分")
    screen.choose("allocation-form-pool", "渠道公海")
    screen.choose("allocation-form-people", "李雷")
    screen.click("allocation-form-submit")
    screen.shows("allocation-row", 1)
    screen.click("allocation-delete")
    screen.page.get_by_role("button", name="确定").click()
    screen.shows("allocation-row", 0)


def test_a_rep_claims_a_batch_and_sees_what_became_of_each(
    company: Company, sign_in: Callable[[str, str], Screen]
) -> None:
    """F21, F25, F27, F187: filters, a result for each, how much room is left, and the countdown with its reason."""
    rep = company.hire("li", "李雷", "sales_rep")
    pool_id = company.admin.get("pools")["pools"][0]["poolId"]
    pooled(company, pool_id, 3, region="华南", level="A")
    pooled(company, pool_id, 2, region="华北", level="B")
    company.admin.post("caps", cap={"name": "两个", "personIds": [rep.person_id], "most": 2})

    screen = sign_in("li", "李雷")
    screen.open("/pool")
    screen.shows("pool-row", 5)
    screen.choose("pool-filter-region", "华南")
    screen.shows("pool-row", 3)
    screen.click("pool-select-all")
    screen.click("pool-claim")
    screen.shows("claim-result", 3)
    expect(screen.page.locator('[data-testid=claim-result][data-done="true"]')).to_have_count(2)
    refused = screen.page.locator('[data-testid=claim-result][data-done="false"]')
    expect(refused).to_have_attribute("data-reason", "OWNER_CAP_REACHED")
    expect(refused).to_contain_text("2/2")
    screen.click("claim-results-close")
    screen.open("/customers")
    screen.shows("customers-row", 2)
    screen.says("capacity", "2 / 2")
    screen.click("days-left-why")
    screen.says("reclaim-reason", "90 天未跟进")


def test_a_manager_gives_out_throws_away_and_restores(
    company: Company, sign_in: Callable[[str, str], Screen]
) -> None:
    """F20, F23: each with a result for each customer."""
    other = company.hire("han", "韩梅", "sales_rep")
    pool_id = company.admin.get("pools")["pools"][0]["poolId"]
    first, *_ = pooled(company, pool_id, 2)
    screen = sign_in("admin", "管理员")
    screen.open("/pool")
    screen.shows("pool-row", 2)
    screen.click("pool-select-all")
    screen.click("pool-assign")
    screen.choose("move-person", "韩梅")
    screen.click("move-submit")
    screen.shows("claim-result", 2)
    screen.click("claim-results-close")
    screen.shows("pool-row", 0)

    other.post(f"customers/{first}:return", reason="无意向")
    screen.open("/pool")
    screen.says("pool-row", "无意向")
    screen.click("pool-select-all")
    screen.click("pool-trash")
    screen.fill("move-reason", "空号")
    screen.click("move-submit")
    screen.click("claim-results-close")
    screen.tab("回收站")
    screen.says("pool-row", "空号")
    screen.click("pool-select-all")
    screen.click("pool-restore")
    screen.click("claim-results-close")
    screen.shows("pool-row", 0)
    assert company.admin.get(f"customers/{first}")["customer"]["state"] == "CUSTOMER_STATE_ACTIVE"


def test_a_leavers_customers_are_handed_over_on_the_page(
    company: Company, sign_in: Callable[[str, str], Screen]
) -> None:
    """F34: begun in one step; its progress survives a reload of the page, and what became of each stands in a list."""
    leaver, other = company.hire("li", "李雷", "sales_rep"), company.hire("han", "韩梅", "sales_rep")
    for _ in range(2):
        customer_of(leaver, fresh_name("移"), fresh_mobile())
    screen = sign_in("admin", "管理员")
    screen.open("/pools?tab=handOver")
    screen.click("hand-over-create")
    screen.choose("hand-over-from", "李雷")
    screen.choose("hand-over-to", "韩梅")
    screen.fill("hand-over-reason", "离职")
    screen.click("hand-over-submit")
    progress = screen.at("hand-over-progress")
    expect(progress).to_have_attribute("data-state", "HAND_OVER_STATE_DONE", timeout=2 * PATIENCE_MS)
    screen.page.reload()
    expect(progress).to_contain_text("已移交 2 个", timeout=PATIENCE_MS)
    screen.shows("hand-over-items-row", 2)
    screen.says("hand-over-items-row", "韩梅")
    screen.says("hand-overs-row", "李雷")
    assert len(other.get("customers", view="CUSTOMER_VIEW_MINE")["customers"]) == 2
