"""Story: duplicates on the pages, in a real browser over the running system.

Whoever types a name sees whom it resembles and why; an administrator tries a rule on last month and sets what evidence
is worth; a reviewer has the base scanned and merges what is one, and sees why two inquiries are perhaps one customer's.
"""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.company import Company, fresh_mobile
from tests.e2e.desk import Refused
from tests.e2e.screen import PATIENCE_MS, Screen
from tests.support.until import until

NAME, ALIKE = "成都知品科技有限公司", "知品科技（成都）有限责任公司"
PARTS = [
    {"product": "非标法兰", "specification": "DN80 PN16 304 厚12mm"},
    {"product": "异径三通", "specification": "DN80x50 304"},
]


def test_duplicates_are_seen_explained_and_merged_on_the_pages(
    company: Company, sign_in: Callable[[str, str], Screen]
) -> None:
    """F147, F149, F162, F166, F36: from the first key to the merge."""
    admin = company.admin
    first = admin.post("customers", name=NAME, level="A", phones=[{"number": fresh_mobile()}])["customer"]
    admin.post("customers", name="沈阳北方机械厂", phones=[{"number": fresh_mobile()}])
    screen = sign_in("admin", "管理员")

    # While the name is typed.
    screen.open("/customers")
    screen.click("customer-create")
    screen.fill("customer-new-name", ALIKE)
    screen.fill("customer-new-phone", fresh_mobile())
    screen.says("customer-new-similar", NAME)
    screen.at("customer-new-similar").locator(".el-collapse-item__header").click()
    reason = screen.at("customer-new-similar").get_by_test_id("reason").first
    expect(reason).to_be_visible(timeout=PATIENCE_MS)
    screen.fits("duplicates-typed")
    screen.click("customer-new-submit")
    expect(screen.at("customer-new")).to_have_count(0, timeout=PATIENCE_MS)

    # The rule that listed it, tried on last month; and what evidence is worth.
    screen.open("/settings")
    similar = screen.page.locator('[data-field="RULE_FIELD_SIMILAR"]')
    rule = screen.page.locator(".rule").filter(has=similar)
    rule.get_by_test_id("dedupe-try").click(timeout=PATIENCE_MS)
    expect(rule.get_by_test_id("dedupe-trial")).to_contain_text("3 条中会命中 1 条", timeout=PATIENCE_MS)
    screen.fill("suspicion-phone", "12")
    screen.click("suspicion-save")
    until(lambda: admin.get("dedupe/suspicion")["settings"]["evidence"]["phone"] == 12)
    screen.fits("duplicates-settings")

    # The whole base, and a merge.
    screen.open("/duplicates")
    screen.click("scan-start")
    screen.page.locator(".el-popconfirm:visible .el-button--primary").click(timeout=PATIENCE_MS)
    screen.shows("duplicate-group", 1)
    screen.says("duplicate-pair", "字号与行业相同")
    screen.fits("duplicates-review")
    screen.click("duplicate-merge")
    keep = screen.page.locator("[data-testid=merge-survivor] .el-radio").filter(has_text=NAME)
    keep.click(timeout=PATIENCE_MS)
    screen.fits("duplicates-merge")
    screen.click("merge-submit")
    expect(screen.at("merge")).to_have_count(0, timeout=PATIENCE_MS)
    (merge,) = until(lambda: admin.get("merges")["merges"])
    merged = admin.get(f"customers/{merge['mergedId']}")["customer"]
    assert (merged["customerId"], merged["name"]) == (first["customerId"], NAME)


def test_manager_wang_and_manager_zhang_are_one_suspect_on_the_page(
    company: Company, sign_in: Callable[[str, str], Screen]
) -> None:
    """F154-F161: two names and numbers, the same non-standard parts: one is quoted for, and a person decides."""
    wang, zhang = (
        company.admin.post(
            "inquiries", inquirerName=person, companyName=firm, phone=fresh_mobile(), items=PARTS
        )["inquiry"]["inquiryId"]
        for person, firm in (("王经理", "华通管道工程有限公司"), ("张经理", "恒信机电设备公司"))
    )
    company.admin.post(f"inquiries/{wang}:requestQuote")
    with pytest.raises(Refused) as refused:
        company.admin.post(f"inquiries/{zhang}:requestQuote")
    assert refused.value.reason == "QUOTE_HELD"

    screen = sign_in("admin", "管理员")
    screen.open("/suspects")
    screen.shows("suspect", 1)
    screen.shows("suspect-inquiry", 2)
    screen.shows("reason", len(PARTS))
    screen.fits("duplicates-suspect")
    screen.click("suspect-confirm")
    screen.shows("suspect", 0)
