"""Story: a new site's first hour with its people, on the pages of a real browser.

A department, a role and somebody with an extension are added; the new colleague works, is signed out everywhere, signs
in again and goes on typing, and the audit says who did what.
"""

from collections.abc import Callable

from playwright.sync_api import Locator, expect

from tests.e2e.company import PASSWORD, Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.screen import PATIENCE_MS, Screen

SignIn = Callable[[str, str], Screen]
RIGHTS = ("customers.view", "customers.create", "numbers.reveal")


def test_staff_are_added_with_their_rights_and_signed_out_at_once(company: Company, sign_in: SignIn) -> None:
    """F234 to F238, F243, F249, F253: the forms know what came a moment ago, and say what is wrong of which field."""
    chief = sign_in("admin", "管理员")
    chief.open("/staff")
    chief.shows("people-row", 1)
    add_department(chief, "华南区")
    add_role(chief, "电话销售", "phone_sales")
    hired = add_person(chief, "李雷", "li")
    for word in ("13800138000", "8001", "华南区", "电话销售"):
        expect(hired).to_contain_text(word)
    chief.fits("people")

    rep = sign_in("li", "李雷")
    rep.open("/customers")
    rep.shows("customer-create", 1)
    begun = fresh_name("未录完")
    rep.click("customer-create")
    rep.at("customer-new-name").locator("input, :scope").first.fill(begun)
    name = reveal_a_number(company, "li")

    hired.get_by_test_id("person-more").click()
    chief.page.get_by_role("menuitem", name="强制下线").click()
    chief.page.locator(".el-message-box .el-button--primary").click()
    rep.shows("signin-again", 1)
    rep.fill("signin-password", PASSWORD)
    rep.click("signin-submit")
    rep.shows("signin-again", 0)
    expect(rep.at("customer-new-name").locator("input, :scope").first).to_have_value(begun)

    chief.tab("审计")
    for words in ("强制下线", "新建角色", "新建部门", "新建员工"):
        expect(chief.at("audit-row").filter(has_text=words).first).to_be_visible(timeout=PATIENCE_MS)
    chief.fits("audit")
    revealed = chief.at("audit-row").filter(has_text="查看完整号码")
    expect(revealed).to_contain_text("李雷")
    revealed.get_by_role("link", name="客户").click()
    chief.says("customer-name", name)


def add_department(chief: Screen, name: str) -> None:
    """Add a department below the first."""
    chief.tab("组织架构")
    chief.click("department-add")
    chief.fill("department-name", name)
    chief.click("department-form-submit")
    chief.shows("department", 2)
    chief.fits("departments")


def add_role(chief: Screen, name: str, code: str) -> None:
    """Add a role that sees what is its own."""
    chief.tab("角色权限")
    chief.click("role-create")
    chief.fill("role-name", name)
    chief.fill("role-code", code)
    chief.choose("role-scope", "本人")
    for right in RIGHTS:
        chief.click(f"right-{right}")
    chief.fits("role")
    chief.click("role-submit")
    expect(chief.at("roles-row").filter(has_text=name)).to_be_visible(timeout=PATIENCE_MS)


def add_person(chief: Screen, name: str, login: str) -> Locator:
    """Add somebody to that department with that role, the mobile one digit short at first; return the row."""
    chief.tab("员工")
    chief.click("person-create")
    chief.fill("person-login", login)
    chief.fill("person-name", name)
    chief.fill("person-password", PASSWORD)
    chief.fill("person-mobile", "1380013800")
    chief.fill("person-extension", "8001")
    chief.choose("person-department", "华南区")
    chief.choose("person-roles", "电话销售")
    chief.click("person-submit")
    chief.says("person", "11")
    chief.fill("person-mobile", "13800138000")
    chief.fits("person")
    chief.click("person-submit")
    chief.shows("people-row", 2)
    return chief.at("people-row").filter(has_text=name)


def reveal_a_number(company: Company, login: str) -> str:
    """Let somebody add a customer and look at its number; return the customer's name."""
    desk = company.at(company.url, login)
    customer = customer_of(desk, fresh_name("深圳云帆"), fresh_mobile())
    path = f"customers/{customer['customerId']}"
    (phone,) = desk.get(path)["customer"]["phones"]
    desk.post(f"{path}/phones/{phone['phoneId']}:reveal", reason="核对号码")
    desk.close()
    return str(customer["name"])
