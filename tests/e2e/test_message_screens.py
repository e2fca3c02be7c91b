"""Story: what colleagues tell each other and customers on the pages, in a real browser over the running system."""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.screen import PATIENCE_MS, Screen
from tests.support.until import until


def test_notes_reminders_and_mails_are_written_on_the_pages(
    company: Company, sign_in: Callable[[str, str], Screen]
) -> None:
    """F200, F202, F203: a note for a colleague, who is due, a consent, and a bulk mail up to its start."""
    rep = company.hire("li", "李雷", "sales_rep")
    customer = customer_of(rep, fresh_name("群发"), fresh_mobile())

    admin = sign_in("admin", "管理员")

    # A note for a colleague, who finds it among the messages.
    admin.open("/messages")
    admin.click("messages-write")
    admin.choose("note-form-people", "李雷")
    admin.fill("note-form-text", "客户周五来访，请准备样品")
    admin.fits("note")
    admin.click("note-form-submit")
    expect(admin.at("note-form")).to_have_count(0, timeout=PATIENCE_MS)

    screen = sign_in("li", "李雷")
    screen.open("/messages")
    screen.says("message", "请准备样品")
    screen.fits("messages")
    screen.tab("待联系")
    screen.click("due-DUE_LIST_NO_ORDER")
    screen.fits("due")
    screen.tab("我的提醒")
    screen.click("reminder-add")
    screen.fits("reminder")
    screen.page.keyboard.press("Escape")

    # What a customer said about bulk SMS.
    screen.open(f"/customers/{customer['customerId']}")
    screen.choose("sms-consent", "拒收")

    def said() -> list[str]:
        consents = rep.get(f"customers/{customer['customerId']}/smsConsents")["consents"]
        return [one["consent"] for one in consents]

    until(lambda: said() == ["SMS_CONSENT_REFUSED"])
    screen.fits("consents")

    # A bulk mail waits for its start; nobody's own customers are nobody.
    admin.open("/bulk-sms?tab=mail")
    admin.click("mail-create")
    admin.fill("mail-form-subject", "年终答谢")
    admin.fill("mail-form-text", "{name}您好，感谢一年来的支持")
    admin.fits("mail-form")
    admin.click("mail-form-submit")
    admin.shows("mails-row", 1)
    admin.says("mails-row", "待确认")
    admin.fits("mails")
    admin.click("mail-link")
    admin.fits("mail")
    admin.page.keyboard.press("Escape")
    admin.open("/settings")
    expect(admin.at("reminder-policy")).to_be_visible(timeout=PATIENCE_MS)
    admin.at("reminder-policy").scroll_into_view_if_needed()
    admin.fits("settings")
