"""Texts that a tenant words itself: which messages there are, which variables each has, and how it is filled in."""

import re
from collections.abc import Mapping
from typing import Final

from services.chassis.errors import InvalidInput, not_found
from services.notify.domain.texts import Words

VARIABLE: Final = re.compile(r"\{([a-z_]+)\}")

LONGEST_TITLE: Final = 100
LONGEST_TEXT: Final = 500

# The variables of each kind of message, with what a preview shows for them.
KINDS: Final[Mapping[str, Mapping[str, str]]] = {
    "approval_waiting": {"title": "客户报备：上海示例贸易"},
    "reclaim_warned": {"name": "上海示例贸易", "time": "2026年11月25日 09:00"},
    "customer_reclaimed": {"name": "上海示例贸易"},
    "lead_reclaim_warned": {"name": "展会询价", "time": "2026年11月25日 09:00"},
    "lead_reclaimed": {"name": "展会询价"},
    "lead_assigned": {"name": "展会询价"},
    "order_generated": {"number": "SO-1001", "title": "空调 10 台"},
    "order_reminder": {"number": "SO-1001", "title": "空调 10 台"},
    "order_escalated": {"number": "SO-1001", "title": "空调 10 台"},
    "order_sms": {"tenant": "示例公司", "number": "SO-1001", "title": "空调 10 台"},
    "opportunity_won": {"name": "空调采购", "amount": "98000.00"},
    "opportunity_lost": {"name": "空调采购", "reason": "价格"},
    "opportunity_transferred": {"name": "空调采购", "customer": "上海示例贸易", "person": "王小明"},
    "follow_up_due": {"title": "回访", "name": "上海示例贸易", "source": "展会", "last": "已发报价，等回复"},
    "cadence_overdue": {"name": "上海示例贸易", "days": "7", "last": "已发报价，等回复"},
    "contacts_due": {"today": "3", "tomorrow": "2", "overdue": "1", "names": "上海示例贸易、苏州示例科技"},
    "orders_missing": {"count": "2", "names": "上海示例贸易、苏州示例科技"},
    "customers_silent": {"count": "2", "names": "上海示例贸易、苏州示例科技"},
    "customer_replied": {"name": "上海示例贸易", "text": "好的，明天联系"},
    "bulk_sms_done": {"name": "国庆通知", "sent": "186", "failed": "2"},
    "bulk_mail_done": {"name": "国庆通知", "sent": "186", "failed": "2"},
    "export_broken": {"time": "2026年11月25日 09:00", "rows": "2000"},
    "call_handed_over": {"person": "王小明", "name": "上海示例贸易"},
    "registration_conflict": {"name": "上海**", "person": "王**"},
    "suspect_raised": {"shared": "非标法兰、异径三通"},
}


def check_template(kind: str, texts: Mapping[str, str]) -> None:
    """Check a tenant's own words for a kind of message.

    texts: by field; the titles and texts. Raises NotFound TEMPLATE_KIND_NOT_FOUND, InvalidInput TEMPLATE_EMPTY,
    TEMPLATE_LENGTH, TEMPLATE_VARIABLE_UNKNOWN.
    """
    if kind not in KINDS:
        raise not_found("template_kind", "消息类型", kind)
    for field, text in texts.items():
        longest = LONGEST_TITLE if field.startswith("title") else LONGEST_TEXT
        if not text.strip():
            raise InvalidInput(field, "TEMPLATE_EMPTY", "模板不能为空", "A template has a text")
        if len(text) > longest:
            raise InvalidInput(
                field,
                "TEMPLATE_LENGTH",
                "模板最多{longest}字",
                "At most {longest} characters",
                longest=longest,
            )
        unknown = sorted(set(VARIABLE.findall(text)) - KINDS[kind].keys())
        if unknown:
            raise InvalidInput(
                field,
                "TEMPLATE_VARIABLE_UNKNOWN",
                "模板中没有变量 {variables}",
                "This kind has no variable {variables}",
                variables=", ".join(unknown),
            )


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in place of the variables; one without a value becomes empty. Values are not looked into again."""
    return VARIABLE.sub(lambda found: values.get(found[1], ""), text)


def fill_words(template: Words, values: Mapping[str, str]) -> Words:
    """Return a template's words with the values in them."""
    return Words(
        fill(template.title_zh, values),
        fill(template.text_zh, values),
        fill(template.title_en, values),
        fill(template.text_en, values),
        values,
    )
