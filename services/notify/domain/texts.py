"""What messages say, in Chinese and in English."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

# Times in texts are China's, which has one zone and no summer time.
CHINA = timezone(timedelta(hours=8))
# Characters of a title that an SMS carries: more would only cost more parts.
LONGEST_SMS_TITLE = 30
# Who signs an SMS when the tenant's name is not known.
DEFAULT_SIGNATURE = "公海"

SUBJECTS = {
    "registration": ("客户报备", "customer registration"),
    "order": ("订单", "order"),
}


@dataclass(frozen=True)
class Words:
    """A message in both languages."""

    title_zh: str
    text_zh: str
    title_en: str
    text_en: str


def approval_waiting(title: str) -> Words:
    """Say that something waits for the reader's decision."""
    return Words(
        "有一项审批等待您处理",
        f"{title}，请及时审批。",
        "An approval waits for you",
        f"{title}: please decide.",
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
    )


def customer_reclaimed(name: str) -> Words:
    """Say that the reader lost a customer."""
    return Words(
        "客户已被收回公海",
        f"客户“{name}”因长时间未跟进，已被收回公海。",
        "A customer was reclaimed",
        f"{name} was not followed up and has returned to the pool.",
    )


def lead_assigned(name: str) -> Words:
    """Say that the reader has a new lead."""
    return Words(
        "您有一条新线索",
        f"线索“{name}”已分配给您，请及时跟进。",
        "You have a new lead",
        f"The lead {name} was assigned to you.",
    )


def order_generated(number: str, title: str) -> Words:
    """Say that the reader has a new order."""
    return Words(
        "您有一张新订单",
        f"订单 {number}（{title}）已生成，请及时处理。",
        "You have a new order",
        f"Order {number} ({title}) was generated: please handle it.",
    )


def order_overdue(number: str, title: str, *, without_mobile: bool) -> Words:
    """Say that the reader left an order unhandled, and whether no SMS went out because there is no mobile."""
    return Words(
        "订单已超过处理时限",
        f"订单 {number}（{title}）已超过处理时限，请尽快处理。"
        + ("您没有登记手机号，因此未发送短信。" if without_mobile else ""),
        "An order is overdue",
        f"Order {number} ({title}) is past its time limit: please handle it."
        + (" No SMS was sent: you have no mobile number on file." if without_mobile else ""),
    )


def team_order_overdue(number: str, title: str) -> Words:
    """Tell a manager of an order that somebody without a mobile left unhandled."""
    return Words(
        "团队订单已超过处理时限",
        f"订单 {number}（{title}）已超过处理时限；负责人没有登记手机号，短信未能发送，请督促处理。",
        "An order of your team is overdue",
        f"Order {number} ({title}) is past its time limit; its owner has no mobile number, so no SMS was sent.",
    )


def order_sms(tenant_name: str, number: str, title: str) -> str:
    """Return the SMS about an unhandled order; signed by the tenant."""
    short = title if len(title) <= LONGEST_SMS_TITLE else f"{title[:LONGEST_SMS_TITLE]}…"
    signature = tenant_name or DEFAULT_SIGNATURE
    return f"【{signature}CRM】订单 {number}（{short}）已超过处理时限，请尽快处理。"
