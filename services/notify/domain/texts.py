"""What messages say, in Chinese and in English."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from services.chassis.numbers import hide_numbers

# Times in texts are China's, which has one zone and no summer time.
CHINA = timezone(timedelta(hours=8))
# Characters of a title that an SMS carries: more would only cost more parts.
LONGEST_SMS_TITLE = 30
# Who signs an SMS when the tenant's name is not known.
DEFAULT_SIGNATURE = "公海"

SUBJECTS = {
    "registration": ("客户报备", "customer registration"),
    "order": ("订单", "order"),
    "contract": ("合同", "contract"),
    "payment": ("付款", "payment"),
    "expense": ("费用申请", "expense"),
    "support": ("支持申请", "support request"),
    "follow_up": ("跟进申请", "follow-up request"),
    "customer": ("客户申请", "customer request"),
    "lead": ("线索申请", "lead request"),
    "opportunity": ("商机申请", "opportunity request"),
    "quote": ("报价申请", "quote request"),
    "other": ("申请", "request"),
}


@dataclass(frozen=True)
class Words:
    """A message in both languages. values: of the variables, for a tenant's own words."""

    title_zh: str
    text_zh: str
    title_en: str
    text_en: str
    values: Mapping[str, str] = field(default_factory=dict)

    def without_numbers(self) -> "Words":
        """Return them without the telephone numbers that somebody typed into what they tell of."""
        return Words(
            hide_numbers(self.title_zh),
            hide_numbers(self.text_zh),
            hide_numbers(self.title_en),
            hide_numbers(self.text_en),
        )


def approval_waiting(title: str) -> Words:
    """Say that something waits for the reader's decision."""
    return Words(
        "有一项审批等待您处理",
        f"{title}，请及时审批。",
        "An approval waits for you",
        f"{title}: please decide.",
        {"title": title},
    )


def approval_overdue(title: str) -> Words:
    """Say that something has waited for the reader's decision too long."""
    return Words(
        "有一项审批已超过处理时限",
        f"{title}，仍在等待您审批。",
        "An approval is overdue",
        f"{title}: still waits for your decision.",
    )


def approval_done(subject_type: str, title: str, comment: str, *, passed: bool) -> Words:
    """Say how an approval of the reader's ended."""
    kind_zh, kind_en = SUBJECTS[subject_type]
    outcome_zh, outcome_en = ("已通过", "passed") if passed else ("已驳回", "rejected")
    return Words(
        f"您的{kind_zh}{outcome_zh}",
        f"{title}{outcome_zh}" + (f"，审批意见：{comment}" if comment else "。"),
        f"Your {kind_en} was {outcome_en}",
        f"{title}: {outcome_en}" + (f". Comment: {comment}" if comment else "."),
    )


def reclaim_warned(name: str, due_time: datetime | None) -> Words:
    """Say that the reader will lose a customer."""
    due = due_time.astimezone(CHINA) if due_time else None
    when_zh = f"将于{due:%Y年%m月%d日 %H:%M}" if due else "即将"
    when_en = f" on {due:%Y-%m-%d %H:%M}" if due else " soon"
    return Words(
        "客户即将被收回公海",
        f"客户“{name}”{when_zh}被收回公海，请尽快跟进。",
        "A customer will be reclaimed",
        f"{name} returns to the pool{when_en} unless it is followed up.",
        {"name": name, "time": f"{due:%Y年%m月%d日 %H:%M}" if due else ""},
    )


def customer_reclaimed(name: str) -> Words:
    """Say that the reader lost a customer."""
    return Words(
        "客户已被收回公海",
        f"客户“{name}”因长时间未跟进，已被收回公海。",
        "A customer was reclaimed",
        f"{name} was not followed up and has returned to the pool.",
        {"name": name},
    )


def lead_reclaim_warned(name: str, due_time: datetime | None) -> Words:
    """Say that the reader will lose a lead."""
    due = due_time.astimezone(CHINA) if due_time else None
    when_zh = f"将于{due:%Y年%m月%d日 %H:%M}" if due else "即将"
    when_en = f" on {due:%Y-%m-%d %H:%M}" if due else " soon"
    return Words(
        "线索即将被收回线索池",
        f"线索“{name}”{when_zh}被收回线索池，请尽快跟进。",
        "A lead will be reclaimed",
        f"The lead {name} returns to its pool{when_en} unless it is followed up.",
        {"name": name, "time": f"{due:%Y年%m月%d日 %H:%M}" if due else ""},
    )


def lead_reclaimed(name: str) -> Words:
    """Say that the reader lost a lead."""
    return Words(
        "线索已被收回线索池",
        f"线索“{name}”因长时间未跟进，已被收回线索池。",
        "A lead was reclaimed",
        f"The lead {name} was not followed up and has returned to its pool.",
        {"name": name},
    )


def lead_assigned(name: str) -> Words:
    """Say that the reader has a new lead."""
    return Words(
        "您有一条新线索",
        f"线索“{name}”已分配给您，请及时跟进。",
        "You have a new lead",
        f"The lead {name} was assigned to you.",
        {"name": name},
    )


def order_generated(number: str, title: str) -> Words:
    """Say that the reader has a new order."""
    return Words(
        "您有一张新订单",
        f"订单 {number}（{title}）已生成，请及时处理。",
        "You have a new order",
        f"Order {number} ({title}) was generated: please handle it.",
        {"number": number, "title": title},
    )


def order_reported(number: str, title: str) -> Words:
    """Tell an admin of a new order."""
    return Words(
        "新订单已生成",
        f"订单 {number}（{title}）已生成。",
        "An order was generated",
        f"Order {number} ({title}) was generated.",
        {"number": number, "title": title},
    )


def order_escalated(number: str, title: str) -> Words:
    """Tell a manager of an order that stays unhandled though its owner was reminded."""
    return Words(
        "团队订单提醒后仍未处理",
        f"订单 {number}（{title}）在提醒负责人之后仍未处理，请督促。",
        "An order of your team is still unhandled",
        f"Order {number} ({title}) is still unhandled after its owner was reminded.",
        {"number": number, "title": title},
    )


def sms_not_delivered(text: str) -> Words:
    """Say that an SMS to the reader did not arrive."""
    return Words(
        "有一条短信未能送达您的手机",
        f"短信内容：{text}",
        "An SMS to you could not be delivered",
        f"It said: {text}",
    )


def opportunity_won(name: str, amount: str) -> Words:
    """Say that an opportunity was won."""
    return Words(
        "商机已赢单",
        f"商机“{name}”已赢单，金额 {amount} 元。",
        "An opportunity was won",
        f"The opportunity {name} was won: {amount} yuan.",
        {"name": name, "amount": amount},
    )


def opportunity_lost(name: str, reason: str) -> Words:
    """Say that an opportunity was lost."""
    return Words(
        "商机已输单",
        f"商机“{name}”已输单，原因：{reason}",
        "An opportunity was lost",
        f"The opportunity {name} was lost: {reason}",
        {"name": name, "reason": reason},
    )


def opportunity_transferred(name: str, customer: str, person: str) -> Words:
    """Say that the reader has somebody's opportunity now."""
    return Words(
        "有商机转交给您",
        f"{person} 将客户“{customer}”的商机“{name}”转交给您，请及时跟进。",
        "An opportunity was handed to you",
        f"{person} handed you the opportunity {name} of {customer}.",
        {"name": name, "customer": customer, "person": person},
    )


def follow_up_due(title: str, name: str, source: str, last: str) -> Words:
    """Remind of something that the reader wanted to be reminded of (F196): with source, customer, last follow-up."""
    about = f"{name}{f'（来源：{source}）' if source else ''}" if name else ""
    about_en = f"{name}{f' (source: {source})' if source else ''}" if name else ""
    return Words(
        f"跟进提醒：{title}",
        (about or title) + (f"，上次跟进：{last}" if last else "") + "。",
        f"Follow-up: {title}",
        (about_en or title) + (f". Last follow-up: {last}" if last else "."),
        {"title": title, "name": name, "source": source, "last": last},
    )


def cadence_overdue(name: str, days: int, last: str) -> Words:
    """Say that a customer has not been followed up for longer than is usual for it (F193)."""
    return Words(
        "客户超过惯常跟进间隔",
        f"客户“{name}”通常每 {days} 天跟进一次，现已超期。上次跟进：{last}",
        "A customer is past its usual gap",
        f"{name} is usually followed up every {days} days and is overdue. Last follow-up: {last}",
        {"name": name, "days": str(days), "last": last},
    )


def contacts_due(today: int, tomorrow: int, overdue: int, names: Sequence[str]) -> Words:
    """Tell the reader in the morning whom to contact (F202)."""
    zh, en = "、".join(names), ", ".join(names)
    return Words(
        f"今天应联系 {today} 位客户",
        f"今天应联系 {today} 位，明天 {tomorrow} 位，逾期未联系 {overdue} 位"
        + (f"：{zh}{'等' if len(names) < today + overdue else ''}。" if names else "。"),
        f"{today} to contact today",
        f"{today} today, {tomorrow} tomorrow, {overdue} overdue"
        + (f": {en}{' and others' if len(names) < today + overdue else ''}." if names else "."),
        {"today": str(today), "tomorrow": str(tomorrow), "overdue": str(overdue), "names": zh},
    )


def orders_missing(count: int, names: Sequence[str]) -> Words:
    """Tell an owner of customers that have not ordered in time (F203)."""
    zh, en = "、".join(names), ", ".join(names)
    more = len(names) < count
    return Words(
        f"有 {count} 位客户逾期未下单",
        f"{zh}{'等' if more else ''}已超过惯常或规定的下单间隔，请跟进。",
        f"{count} customers have not ordered in time",
        f"{en}{' and others' if more else ''}: past the usual or the set time between orders.",
        {"count": str(count), "names": zh},
    )


def customers_silent(count: int, names: Sequence[str]) -> Words:
    """Tell an owner of customers with whom nothing has happened for long (F203)."""
    zh, en = "、".join(names), ", ".join(names)
    more = len(names) < count
    return Words(
        f"有 {count} 位客户长期没有业务往来",
        f"{zh}{'等' if more else ''}已很久没有订单、跟进、通话或回复，请联系。",
        f"{count} customers have been silent for long",
        f"{en}{' and others' if more else ''}: no order, follow-up, call or answer for long.",
        {"count": str(count), "names": zh},
    )


def registration_refused(name: str, holder: str) -> Words:
    """Say that somebody else holds what the reader wanted to register (F170)."""
    return Words(
        "报备与他人冲突",
        f"您报备的“{name}”与 {holder} 的报备冲突，未能提交。",
        "Your registration conflicts with another",
        f"{name} is held by {holder}; your registration was refused.",
        {"name": name, "person": holder},
    )


def registration_contested(name: str, other: str) -> Words:
    """Say that somebody wanted to register what the reader holds (F170)."""
    return Words(
        "有人报备了您的客户",
        f"{other} 试图报备“{name}”，与您的客户或报备重复，已被拒绝。",
        "Somebody tried to register your customer",
        f"{other} tried to register {name}, which you hold; it was refused.",
        {"name": name, "person": other},
    )


def suspect_raised(shared: str) -> Words:
    """Say that different inquirers are perhaps one customer (F159, F201)."""
    return Words(
        "疑似同一客户，请人工审核",
        f"不同询价人的询价高度相近：{shared}。确认或排除之前，请勿重复报价。",
        "Perhaps one customer: review it",
        f"Different people asked for much the same: {shared}. Don't quote twice before it is decided.",
        {"shared": shared},
    )


def customer_replied(name: str, text: str) -> Words:
    """Say that a customer answered by SMS."""
    return Words(
        "客户回复了短信",
        f"客户“{name}”回复：{text}",
        "A customer answered by SMS",
        f"{name}: {text}",
        {"name": name, "text": text},
    )


def bulk_sms_done(name: str, sent: int, failed: int, uncertain: int, skipped: int) -> Words:
    """Tell the writer of a bulk SMS how many have it."""
    return Words(
        f"群发“{name}”已完成",
        f"已发送 {sent} 条，失败 {failed} 条，结果未知 {uncertain} 条，未发送 {skipped} 条。",
        f"The bulk SMS {name} is done",
        f"{sent} sent, {failed} failed, {uncertain} unknown, {skipped} left out.",
        {"name": name, "sent": str(sent), "failed": str(failed)},
    )


def bulk_mail_done(subject: str, sent: int, failed: int, uncertain: int, skipped: int) -> Words:
    """Tell the writer of a bulk mail how many have it."""
    return Words(
        f"群发邮件“{subject}”已完成",
        f"已发送 {sent} 封，失败 {failed} 封，结果未知 {uncertain} 封，未发送 {skipped} 封。",
        f"The bulk mail {subject} is done",
        f"{sent} sent, {failed} failed, {uncertain} unknown, {skipped} left out.",
        {"name": subject, "sent": str(sent), "failed": str(failed)},
    )


def export_broken(rows: int, start_time: datetime) -> Words:
    """Tell who exported customers that the file broke off."""
    start = start_time.astimezone(CHINA)
    return Words(
        "客户导出已中断",
        f"{start:%Y年%m月%d日 %H:%M} 开始的导出因系统中断未完成，已读取 {rows} 行，请重新导出。",
        "An export of customers broke off",
        f"The export begun at {start:%Y-%m-%d %H:%M} was interrupted after {rows} rows: please begin it anew.",
        {"time": f"{start:%Y年%m月%d日 %H:%M}", "rows": str(rows)},
    )


def call_handed_over(person: str, name: str) -> Words:
    """Say that a colleague gave the reader a call."""
    return Words(
        "同事转来一通来电，请跟进",
        f"{person}把客户“{name or '未知来电'}”的一通来电转给您，请在通话记录中查看并跟进。",
        "A colleague handed a call over to you",
        f"{person} handed over a call of {name or 'an unknown caller'}: see it among the calls.",
        {"person": person, "name": name},
    )


def note_left(author: str, text: str) -> Words:
    """Return a colleague's note."""
    return Words(f"{author}给您留言", text, f"A note from {author}", text)


def digest(titles: Sequence[str]) -> Words:
    """Return several messages as one."""
    listed = "\n".join(f"{place}. {title}" for place, title in enumerate(titles, 1))
    return Words(f"您有 {len(titles)} 条消息", listed, f"You have {len(titles)} messages", listed)


def order_overdue(number: str, title: str, *, without_mobile: bool) -> Words:
    """Say that the reader left an order unhandled, and whether no SMS went out because there is no mobile."""
    return Words(
        "订单已超过处理时限",
        f"订单 {number}（{title}）已超过处理时限，请尽快处理。"
        + ("您没有登记手机号，因此未发送短信。" if without_mobile else ""),
        "An order is overdue",
        f"Order {number} ({title}) is past its time limit: please handle it."
        + (" No SMS was sent: you have no mobile number on file." if without_mobile else ""),
        {"number": number, "title": title},
    )


def team_order_overdue(number: str, title: str) -> Words:
    """Tell a manager of an order that somebody without a mobile left unhandled."""
    return Words(
        "团队订单已超过处理时限",
        f"订单 {number}（{title}）已超过处理时限；负责人没有登记手机号，短信未能发送，请督促处理。",
        "An order of your team is overdue",
        f"Order {number} ({title}) is past its time limit; its owner has no mobile number, so no SMS was sent.",
        {"number": number, "title": title},
    )


def order_sms(tenant_name: str, number: str, title: str) -> str:
    """Return the SMS about an unhandled order; signed by the tenant."""
    signature = tenant_name or DEFAULT_SIGNATURE
    return f"【{signature}CRM】订单 {number}（{shortened(title)}）已超过处理时限，请尽快处理。"


def shortened(title: str) -> str:
    """Return a title as an SMS carries it."""
    return title if len(title) <= LONGEST_SMS_TITLE else f"{title[:LONGEST_SMS_TITLE]}…"
