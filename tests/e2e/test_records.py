"""Story: a new site's first hour with its customers, at the pages (F3, F4, F5, F7, F22, F62, F66, F70)."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.company import PASSWORD, Company, fresh_mobile
from tests.e2e.test_call import CHROMIUM, QUIET

# Longest wait for something on a page, and for a file of thousands of rows, in milliseconds.
PATIENCE_MS, IMPORT_MS = 60_000, 240_000
ROWS = 3000
# Rows that name a pool, and rows that cannot be imported.
POOLED, BAD = 400, 2
PHONE = {"width": 375, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium without a window."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, company: Company) -> Iterator[Page]:
    """The administrator's desktop."""
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(company.url)
    page.get_by_test_id("signin-tenant").fill(company.slug)
    page.get_by_test_id("signin-login").fill("admin")
    page.get_by_test_id("signin-password").fill(PASSWORD)
    page.get_by_test_id("signin-submit").click()
    expect(page.get_by_test_id("user-name")).to_be_visible(timeout=PATIENCE_MS)
    yield page
    context.close()


def gbk_file() -> bytes:
    """Return the export of an older system: GBK, some rows for a pool, a number too short, a row without a name."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["公司名称", "联系人", "手机", "等级", "地区", "公海", "员工人数"])
    for number in range(ROWS):
        mobile = "1380" if number == 700 else fresh_mobile()
        name = "" if number == 1500 else f"深圳市第{number}号贸易有限公司"
        pool = "华南公海" if number % 7 == 0 and number < POOLED * 7 else ""
        rows.writerow([name, f"联系人{number}", mobile, "ABCD"[number % 4], "深圳", pool, number])
    return text.getvalue().encode("gbk")


def picture(page: Page, name: str, folder: Path) -> None:
    """Keep how the page looks, beside the test's other files, and see that nothing sticks out on a phone."""
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    wide = page.viewport_size
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # a viewport is a plain dict
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.screenshot(path=folder / f"{name}-phone.png", full_page=True)
    page.set_viewport_size(wide)  # type: ignore[arg-type]


def pick(page: Page, testid: str, choice: str) -> None:
    """Choose from a select by its text."""
    page.get_by_test_id(testid).last.click()
    page.locator(".el-select-dropdown:visible").get_by_text(choice, exact=True).last.click()


@pytest.mark.timeout(600)
def test_a_gbk_file_becomes_customers_who_are_found_listed_and_edited(
    company: Company, page: Page, tmp_path: Path
) -> None:
    """A killed browser loses nothing: the import is the server's, and its page is opened again by its address."""
    field = {"object": "customer", "key": "staff", "name": "员工人数", "type": "number", "listed": True}
    company.admin.post("fields", field=field)
    company.admin.post("pools", pool={"name": "华南公海", "rule": {"idleDays": 90, "warnDays": 1}})
    top = company.admin.post("customerCategories", name="重点行业")["category"]["categoryId"]
    company.admin.post("customerCategories", name="外贸", parentId=top)
    import_file(company, page, tmp_path)
    narrow_list(company, page, tmp_path)
    edit_customer(company, page, tmp_path)


def import_file(company: Company, page: Page, tmp_path: Path) -> None:
    """Upload the file; its columns are known by their names; have it checked, corrected and committed."""
    page.goto(f"{company.url}/imports")
    file = {"name": "老系统.csv", "mimeType": "text/csv", "buffer": gbk_file()}
    page.get_by_test_id("import-file").set_input_files(file)  # type: ignore[arg-type]  # playwright's own TypedDict
    wizard = page.get_by_test_id("import")
    expect(wizard).to_have_attribute("data-state", "IMPORT_STATE_STAGED", timeout=IMPORT_MS)
    expect(wizard).to_contain_text("GB18030")
    picture(page, "staged", tmp_path)
    page.get_by_test_id("import-check").click()
    expect(wizard).to_have_attribute("data-state", "IMPORT_STATE_CHECKED", timeout=IMPORT_MS)
    expect(page.get_by_test_id("import-count-bad")).to_contain_text(str(BAD))
    expect(page.get_by_test_id("import-rows-row")).to_have_count(BAD)
    picture(page, "checked", tmp_path)
    page.get_by_test_id("import-row-edit").first.click()
    page.get_by_test_id("import-row-2").fill(fresh_mobile())
    page.get_by_test_id("import-row-submit").click()
    expect(page.get_by_test_id("import-rows-row")).to_have_count(BAD - 1)
    page.get_by_test_id("import-commit").click()
    page.goto(page.url)
    expect(wizard).to_have_attribute("data-state", "IMPORT_STATE_DONE", timeout=IMPORT_MS)
    expect(page.get_by_test_id("import-count-done")).to_contain_text(str(ROWS - BAD + 1))
    picture(page, "done", tmp_path)
    with page.expect_download() as download:
        page.get_by_test_id("import-errors").click()
    with Path(download.value.path()).open(encoding="utf-8-sig") as errors:
        _, *wrong = list(csv.reader(errors))
    assert len(wrong) == BAD - 1
    assert "公司名称" in wrong[0][1]
    counts = company.admin.get("customers:count", view="CUSTOMER_VIEW_POOL", by="region")["counts"]
    assert counts == [{"value": "深圳", "count": str(POOLED)}]


def narrow_list(company: Company, page: Page, tmp_path: Path) -> None:
    """Filter by an own field and a built-in one, choose a column, keep both as a view; search by initials."""
    page.goto(f"{company.url}/customers")
    expect(page.get_by_test_id("customers").locator("th", has_text="员工人数")).to_be_visible()
    page.get_by_test_id("list-filter").click()
    pick(page, "filter-field", "员工人数")
    pick(page, "filter-op", "介于")
    page.get_by_test_id("filter-text").nth(0).fill("2990")
    page.get_by_test_id("filter-text").nth(1).fill("2999")
    page.get_by_test_id("filter-add").click()
    pick(page, "filter-field", "级别")
    pick(page, "filter-value", "A")
    page.keyboard.press("Escape")
    picture(page, "filter", tmp_path)
    page.get_by_test_id("filter-submit").click()
    expect(page.get_by_test_id("customers-row")).to_have_count(2)
    page.get_by_test_id("list-columns").click()
    page.get_by_test_id("column-tags").click()
    expect(page.get_by_test_id("customers").locator("th", has_text="标签")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_test_id("view-save").click()
    page.get_by_test_id("view-name-input").fill("大客户")
    page.get_by_test_id("view-name-submit").click()
    expect(page.get_by_test_id("saved-views")).to_contain_text("大客户")
    picture(page, "list", tmp_path)
    page.goto(f"{company.url}/customers")
    pick(page, "saved-views", "大客户")
    expect(page.get_by_test_id("customers-row")).to_have_count(2)
    page.goto(f"{company.url}/customers")
    page.get_by_test_id("customer-search").fill("szsd77h")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("customers-row")).to_have_count(1)


def edit_customer(company: Company, page: Page, tmp_path: Path) -> None:
    """Edit what the search found: category, hot flag, tags, and an own field that is refused at first."""
    page.get_by_test_id("customer-link").click()
    expect(page.get_by_test_id("customer-name")).to_have_text("深圳市第77号贸易有限公司")
    page.get_by_test_id("customer-edit-open").click()
    pick(page, "edit-category", "外贸")
    page.get_by_test_id("edit-hot").click()
    page.get_by_test_id("edit-tags").locator("input").fill("展会")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    picture(page, "edit", tmp_path)
    page.get_by_text("自定义字段").click()
    page.get_by_test_id("edit-custom-staff").fill("many")
    page.get_by_test_id("customer-edit-submit").click()
    expect(page.get_by_test_id("customer-edit")).to_contain_text("应为数字")
    page.get_by_test_id("edit-custom-staff").fill("778")
    page.get_by_test_id("customer-edit-submit").click()
    expect(page.get_by_test_id("customer-hot")).to_be_visible()
    card = page.get_by_test_id("customer-card")
    expect(card.locator("[data-fact=category]")).to_contain_text("重点行业 / 外贸")
    expect(card.locator("[data-fact=tags]")).to_contain_text("展会")
    expect(card.locator("[data-fact='custom.staff']")).to_contain_text("778")
    picture(page, "customer", tmp_path)
    page.goto(f"{company.url}/customers")
    page.get_by_test_id("list-hot").click()
    expect(page.get_by_test_id("customers-row")).to_have_count(1)
