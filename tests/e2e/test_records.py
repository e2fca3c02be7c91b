"""Story: a new site's first hour with its customers, on the pages of a real browser.

An export of 3,000 rows from an older system is uploaded, some rows straight to a pool; what is wrong of it is taken as
a file, mended and uploaded again; then the customers are found, sorted into categories, and one is made from the
business register.
"""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, expect

from tests.e2e.company import Company
from tests.e2e.screen import Screen

SignIn = Callable[[str, str], Screen]

# Longest wait for a file of thousands of rows, in milliseconds.
IMPORT_MS = 240_000
ROWS = 3000
# Every so many rows one names the pool.
POOLED = 10
POOL = "华南公海"
HEADER = ["公司名称", "联系人", "手机", "等级", "地区", "公海", "员工人数"]
# Rows that are wrong: a digit too few, no name, a pool that there is not. Place in the file: column, reason's words.
WRONG = {700: ("手机", "位"), 1500: ("公司名称", "不能为空"), 2203: ("公海", "没有名为")}


def good_row(number: int) -> list[str]:
    """Return a row as it should have been."""
    pool = POOL if number % POOLED == 0 else ""
    name, mobile = f"深圳市第{number}号贸易有限公司", f"138{number:08}"
    return [name, f"联系人{number}", mobile, "ABCD"[number % 4], "深圳", pool, str(number)]


def old_export() -> bytes:
    """Return the export of the older system: GBK, with the rows that are wrong."""
    rows = [good_row(number) for number in range(ROWS)]
    rows[700][2] = "1380000070"
    rows[1500][0] = ""
    rows[2203][5] = "无此公海"
    return sheet([HEADER, *rows], "gbk")


def sheet(rows: Sequence[Sequence[str]], encoding: str) -> bytes:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(encoding)


@pytest.fixture
def screen(company: Company, sign_in: SignIn) -> Screen:
    """The administrator's desktop of a tenant with a pool, a field of its own and two categories."""
    field = {"object": "customer", "key": "staff", "name": "员工人数", "type": "number", "listed": True}
    company.admin.post("fields", field=field)
    company.admin.post("pools", pool={"name": POOL, "rule": {"idleDays": 90, "warnDays": 1}})
    return sign_in("admin", "管理员")


@pytest.mark.timeout(600)
def test_an_old_systems_export_becomes_customers_that_are_found_and_sorted(
    company: Company, screen: Screen
) -> None:
    """F4, F5, F7, F22, F42, F44, F63, F70: whoever leaves the page loses nothing, the import is the server's."""
    upload(screen, "老系统.csv", old_export())
    expect(screen.at("import")).to_contain_text("GB18030")
    check(screen)
    screen.says("import-count-bad", str(len(WRONG)))
    screen.shows("import-rows-row", len(WRONG))
    screen.fits("import-checked")
    screen.click("import-commit")
    # In the middle of it the page is left and opened again.
    screen.page.goto(screen.page.url)
    reaches(screen, "DONE")
    screen.says("import-count-done", str(ROWS - len(WRONG)))

    mended = mend(errors_of(screen))
    screen.open("/imports")
    upload(screen, "更正.csv", mended)
    check(screen)
    screen.says("import-count-ready", str(len(WRONG)))
    screen.click("import-commit")
    reaches(screen, "DONE")

    # The first file again: every row is known, but for those that have another row's name now.
    screen.open("/imports")
    upload(screen, "又一次.csv", old_export())
    check(screen)
    screen.says("import-count-duplicate", str(ROWS - len(WRONG)))
    expect(screen.at("import-commit")).to_have_count(0)
    counted = {view: in_all(company, view) for view in ("POOL", "ALL")}
    assert counted == {"POOL": ROWS // POOLED, "ALL": ROWS}
    narrow_by_groups(screen)
    sort_into_categories(screen)


def in_all(company: Company, view: str) -> int:
    """Return how many customers of the file a view has."""
    counts = company.admin.get("customers:count", view=f"CUSTOMER_VIEW_{view}", by="region")["counts"]
    return sum(int(one["count"]) for one in counts)


def upload(screen: Screen, name: str, data: bytes) -> None:
    """Upload a file; its columns are known by their names."""
    if not screen.page.url.endswith("/imports"):
        screen.open("/imports")
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": data}
    screen.at("import-file").set_input_files(file)
    reaches(screen, "STAGED")


def check(screen: Screen) -> None:
    """Have every row checked."""
    screen.click("import-check")
    reaches(screen, "CHECKED")


def reaches(screen: Screen, state: str) -> None:
    """Wait until an import is so far."""
    expect(screen.at("import")).to_have_attribute("data-state", f"IMPORT_STATE_{state}", timeout=IMPORT_MS)


def errors_of(screen: Screen) -> list[list[str]]:
    """Take the file of what is wrong: row, reason by column, and the cells as they were."""
    with screen.page.expect_download() as download:
        screen.click("import-errors")
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["行号", "问题", *HEADER]
    # The header of the uploaded file is its row 1.
    assert {int(row[0]) - 2: row[1] for row in rows[1:]}.keys() == WRONG.keys()
    for row in rows[1:]:
        column, words = WRONG[int(row[0]) - 2]
        assert row[1].startswith(f"{column}: ")
        assert words in row[1]
    return rows


def mend(rows: list[list[str]]) -> bytes:
    """Correct the cells in the very file, as somebody does in a spreadsheet."""
    return sheet([rows[0], *([*row[:2], *good_row(int(row[0]) - 2)] for row in rows[1:])], "utf-8-sig")


def narrow_by_groups(screen: Screen) -> None:
    """Filter by conditions within conditions, keep the view, find a customer by the initials of its name."""
    screen.open("/customers?view=CUSTOMER_VIEW_ALL")
    screen.click("list-filter")
    condition(screen, "员工人数", "介于", "2990", "2999")
    screen.click("filter-add-group")
    inner = screen.at("filter-group").nth(1)
    condition(screen, "级别", "属于", "A")
    inner.get_by_test_id("filter-add").first.click()
    condition(screen, "客户名称", "包含", "2991")
    screen.fits("filter-groups")
    screen.click("filter-submit")
    # Of level A are 2992 and 2996, and 2991 is called so.
    screen.shows("customers-row", 3)
    screen.click("view-save")
    screen.fill("view-name-input", "大客户")
    screen.click("view-name-submit")
    screen.says("saved-views", "大客户")
    screen.open("/customers?view=CUSTOMER_VIEW_ALL")
    screen.choose("saved-views", "大客户")
    screen.shows("customers-row", 3)
    screen.click("list-filter")
    screen.shows("filter-group", 2)
    screen.shows("filter-condition", 3)
    screen.open("/customers?view=CUSTOMER_VIEW_ALL")
    search(screen, "szsd77h")
    screen.shows("customers-row", 1)


def search(screen: Screen, text: str) -> None:
    """Search the list."""
    screen.fill("customer-search", text)
    screen.at("customer-search").first.press("Enter")


def condition(screen: Screen, field: str, op: str, *values: str) -> None:
    """Fill in the condition that was added last."""
    last = screen.at("filter-condition").last
    for testid, choice in (("filter-field", field), ("filter-op", op)):
        last.get_by_test_id(testid).click()
        screen.page.locator(".el-select-dropdown:visible").get_by_text(choice, exact=True).last.click()
        expect(screen.page.locator(".el-select-dropdown:visible")).to_have_count(0)
    for place, value in enumerate(values):
        if last.get_by_test_id("filter-value").count():
            last.get_by_test_id("filter-value").click()
            screen.page.locator(".el-select-dropdown:visible").get_by_text(value, exact=True).last.click()
            screen.page.keyboard.press("Tab")
        else:
            last.get_by_test_id("filter-text").nth(place).fill(value)


def sort_into_categories(screen: Screen) -> None:
    """Make categories, put a dealer and a customer into one, and reach both lists by their counts."""
    screen.open("/customer-classes")
    screen.click("category-create")
    screen.fill("category-name", "重点行业")
    screen.click("category-form-submit")
    screen.click("category-add")
    screen.fill("category-name", "外贸")
    screen.click("category-form-submit")
    screen.shows("category", 2)
    edit_customer(screen, "szsd77h", dealer=True)
    edit_customer(screen, "szsd78h", dealt_by="深圳市第77号贸易有限公司")
    screen.open("/customer-classes")
    expect(screen.at("category-count")).to_have_text(["2", "2"])
    screen.fits("categories")
    screen.at("category-list").first.click()
    screen.shows("customers-row", 2)
    screen.open("/customer-classes")
    screen.tab("地区分布")
    screen.says("counts-row", str(ROWS))
    screen.fits("regions")
    screen.tab("经销商")
    screen.says("dealers-row", "第77号")
    screen.fits("dealers")
    screen.click("dealer-list")
    screen.shows("customers-row", 1)
    screen.says("customers-row", "第78号")


def edit_customer(screen: Screen, initials: str, *, dealer: bool = False, dealt_by: str = "") -> None:
    """Find a customer by its initials and edit it; an own field is refused at first."""
    screen.open("/customers?view=CUSTOMER_VIEW_ALL")
    search(screen, initials)
    screen.shows("customers-row", 1)
    screen.click("customer-link")
    screen.click("customer-edit-open")
    screen.choose("edit-category", "外贸")
    if dealer:
        screen.click("edit-is-dealer")
    if dealt_by:
        screen.choose("edit-dealer", dealt_by)
    screen.tab("自定义字段")
    screen.fill("edit-custom-staff", "many")
    screen.click("customer-edit-submit")
    screen.says("customer-edit", "应为数字")
    screen.fill("edit-custom-staff", "778")
    screen.tab("地址")
    screen.click("edit-address-add")
    screen.fill("edit-address", "长" * 501)
    screen.tab("基本信息")
    screen.click("customer-edit-submit")
    screen.says("customer-edit", "最多500个字")
    screen.fill("edit-address", "示范路1号")
    screen.click("customer-edit-submit")
    expect(screen.at("customer-card").locator("[data-fact=category]")).to_contain_text("重点行业 / 外贸")
    expect(screen.at("customer-card").locator("[data-fact='custom.staff']")).to_contain_text("778")


def test_a_company_of_the_register_becomes_a_customer_with_its_credit_code(screen: Screen) -> None:
    """F37, F38, F40: candidates while typing; what is known of the chosen one is filled in and kept."""
    screen.open("/customers")
    screen.click("customer-create")
    screen.at("customer-new-name").first.press_sequentially("示例云帆", delay=20)
    screen.page.locator(".el-autocomplete-suggestion li:visible").first.click()
    expect(screen.at("customer-new-credit-code")).to_have_value("91310000MA1FL0X00B")
    screen.fits("new-customer")
    screen.click("customer-new-submit")
    screen.shows("customers-row", 1)
    screen.click("customer-link")
    expect(screen.at("customer-card").locator("[data-fact=finance]")).to_contain_text("91310000MA1FL0X00B")


def test_people_and_numbers_of_a_customer_are_kept_on_its_page(company: Company, sign_in: SignIn) -> None:
    """F2, F3, F33, F72, O8: a contact brings its customer; a rep adds a number and changes none."""
    company.hire("li", "李雷", "sales_rep")
    rep = sign_in("li", "李雷")
    rep.open("/customers")
    rep.click("contact-create")
    rep.fill("contact-new-name", "王小明")
    rep.fill("contact-new-phone", "1380013800")
    rep.fill("contact-new-customer-name", "上海云帆贸易有限公司")
    rep.click("contact-new-submit")
    rep.says("contact-new", "11")
    rep.fill("contact-new-phone", "13800138000")
    rep.fits("contact-new")
    rep.click("contact-new-submit")
    rep.says("customer-name", "上海云帆贸易有限公司")
    rep.says("contact", "13800138000")

    rep.click("contact-edit")
    rep.fill("contact-form-account", "wx-wang")
    rep.fill("contact-form-hobbies", "钓鱼")
    rep.click("contact-form-submit")
    rep.says("contact", "钓鱼")
    rep.at("contact").get_by_test_id("phone-add").click()
    rep.fill("number-input", "021-50001234")
    rep.click("number-submit")
    rep.says("contact", "02150001234")
    rep.shows("phone-replace", 0)
    rep.click("contact-add")
    rep.fill("contact-new-name", "赵敏")
    rep.click("contact-new-submit")
    rep.shows("contact", 2)
    rep.fits("customer-people")

    chief = sign_in("admin", "管理员")
    chief.page.goto(rep.page.url)
    chief.at("contact").first.get_by_test_id("phone-replace").first.click()
    chief.fill("number-input", "13900139000")
    chief.click("number-submit")
    chief.says("contact", "13900139000")
