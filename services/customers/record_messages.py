"""Messages of the records' contract: what a form says, checked field by field, and rows as messages."""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

from crm.customers.v1 import customers_pb2 as base
from crm.customers.v1 import records_pb2 as pb
from google.protobuf.message import Message

from services.chassis.declarations import show_number, show_text
from services.chassis.errors import InvalidInput
from services.chassis.ids import parse_id
from services.chassis.timestamps import timestamp
from services.customers.domain.customers import check_name
from services.customers.messages import follow_up_message, given_values, parse_tags
from services.customers.store.record_tables import Address, Category, Field, Plan, SavedView, TimelineEntry
from services.customers.usecases.categories import depth_of
from services.customers.usecases.records import MOST_ADDRESSES, AddressDraft, AddressKind, CustomerEdit
from services.customers.usecases.saved_views import ViewDraft
from services.customers.usecases.views import View
from services.kernel.credit_codes import LENGTH as CREDIT_CODE_LENGTH
from services.kernel.credit_codes import parse_credit_code
from services.kernel.fields import parse_day
from services.kernel.phones import parse_phone, text_for, texts_for
from services.kernel.texts import parse_text

__all__ = ["follow_up_message"]

# Columns that a saved view shows.
MOST_COLUMNS = 60
# Longest texts of a customer's form, as in CreateCustomer.
LONGEST = {"name": 200, "level": 50, "region": 100, "address": 500, "business_type": 100}
CONTACT_LONGEST = {"name": 100, "title": 100, "address": 500, "account": 100, "hobbies": 500}
FINANCE_LONGEST = {
    "invoice_title": 200,
    "tax_number": 20,
    "bank": 100,
    "bank_account": 40,
    "invoice_address": 500,
    "invoice_phone": 40,
}
VIEWS = {
    base.CUSTOMER_VIEW_UNSPECIFIED: View.MINE,
    base.CUSTOMER_VIEW_MINE: View.MINE,
    base.CUSTOMER_VIEW_POOL: View.POOL,
    base.CUSTOMER_VIEW_ALL: View.ALL,
    base.CUSTOMER_VIEW_REGISTRATIONS: View.REGISTRATIONS,
}
VIEW_MESSAGES = {view: message for message, view in VIEWS.items()}
# What a line of the timeline says, by kind or by the event that told of it: Chinese, English.
LINES = {
    "follow_up": ("跟进：{text}", "Follow-up: {text}"),
    "call_ended": ("通话，时长 {talkSeconds} 秒", "Call of {talkSeconds} s"),
    "sms_received": ("客户回复短信：{text}", "Answered by SMS: {text}"),
    "sms_sent": ("发送短信：{text}", "SMS sent: {text}"),
    "call_linked": ("通话，时长 {talkSeconds} 秒", "Call of {talkSeconds} s"),
    "order_generated": ("生成订单 {number}，金额 {amount}", "Order {number} was made, {amount}"),
    "order_approved": ("订单 {number} 审批通过", "Order {number} was approved"),
    "ownership": ("归属变更：{cause}", "Owner changed: {cause}"),
    "change": ("修改了 {fields}", "Changed {fields}"),
}


def parse_view(view: "base.CustomerView.ValueType") -> View:
    """Return which customers; raises InvalidInput VIEW_UNKNOWN."""
    if view not in VIEWS:
        raise InvalidInput("view", "VIEW_UNKNOWN", "没有这样的视图", "There is no such view")
    return VIEWS[view]


def field_message(row: Field) -> pb.Field:
    """Return a field."""
    return pb.Field(
        object=row.object,
        key=row.key,
        name=row.name,
        type=row.type,
        required=row.required,
        unique=row.is_unique,
        searchable=row.searchable,
        listed=row.listed,
        max_length=row.max_length,
        choices=row.choices,
        active=row.active,
        version=row.version,
    )


def edit_of(request: pb.UpdateCustomerRequest) -> CustomerEdit:
    """Return what a form changes of a customer; raises InvalidInput naming the field."""
    columns: dict[str, Any] = {
        name: parse_text(getattr(request, name), name, longest, required=name == "name")
        for name, longest in LONGEST.items()
        if given(request, name)
    }
    if "name" in columns:
        check_name(columns["name"])
    for name in ("hot", "dealer"):
        if given(request, name):
            columns[name] = getattr(request, name)
    if request.HasField("tags"):
        columns["tags"] = list(parse_tags(request.tags.values))
    if request.HasField("finance"):
        columns["finance"] = _finance(request.finance)
    links = {
        name: _id_or_none(getattr(request, name), name)
        for name in ("category_id", "dealer_id", "parent_id")
        if given(request, name)
    }
    addresses = _addresses(request.addresses.values) if request.HasField("addresses") else None
    return CustomerEdit(columns, given_values(request.values), addresses=addresses, **links)


def contact_columns(request: pb.UpdateContactRequest) -> dict[str, str | date | None]:
    """Return what a form changes of a contact; raises InvalidInput naming the field."""
    columns: dict[str, str | date | None] = {
        name: parse_text(getattr(request, name), name, longest, required=name == "name")
        for name, longest in CONTACT_LONGEST.items()
        if given(request, name)
    }
    if request.HasField("birthday"):
        columns["birthday"] = parse_day(request.birthday) if request.birthday else None
        if request.birthday and columns["birthday"] is None:
            raise InvalidInput(
                "birthday", "DATE_INVALID", "日期应如 1990-01-31", "A day is written as 1990-01-31"
            )
    return columns


def given(request: Message, name: str) -> bool:
    """Tell whether a form names a field."""
    return request.HasField(name)


def _id_or_none(text: str, field: str) -> str:
    return parse_id(text, field) if text else ""


def _finance(finance: pb.Finance) -> dict[str, str]:
    texts = {
        name: parse_text(getattr(finance, name), f"finance.{name}", longest, required=False)
        for name, longest in FINANCE_LONGEST.items()
    }
    # Of before 2015 they are shorter, and are taken as they are.
    if len(texts["tax_number"]) == CREDIT_CODE_LENGTH:
        texts["tax_number"] = parse_credit_code(texts["tax_number"], "finance.tax_number")
    if texts["invoice_phone"]:
        texts["invoice_phone"] = parse_phone(texts["invoice_phone"], "finance.invoice_phone").key
    return {name: text for name, text in texts.items() if text}


def finance_message(finance: dict[str, str]) -> pb.Finance:
    """Return finance data; whoever may not see the customer's numbers is given none."""
    show_number(finance.get("invoice_phone", ""))
    message = pb.Finance(**{name: finance.get(name, "") for name in FINANCE_LONGEST})
    return texts_for(message, may_see=True)


def _addresses(addresses: Sequence[pb.Address]) -> tuple[AddressDraft, ...]:
    if len(addresses) > MOST_ADDRESSES:
        raise InvalidInput(
            "addresses", "TOO_MANY", "最多{most}个地址", "At most {most} addresses", most=MOST_ADDRESSES
        )
    drafts = []
    for index, address in enumerate(addresses):
        path = f"addresses.values[{index}]"
        try:
            kind = AddressKind(address.kind)
        except ValueError:
            raise InvalidInput(
                f"{path}.kind",
                "ADDRESS_KIND_UNKNOWN",
                "地址类型应为 visit、ship 或 send",
                "An address is for visit, ship or send",
            ) from None
        drafts.append(
            AddressDraft(
                kind,
                parse_text(address.region, f"{path}.region", 100, required=False),
                parse_text(address.detail, f"{path}.detail", 500),
                parse_text(address.recipient, f"{path}.recipient", 100, required=False),
            )
        )
    return tuple(drafts)


def address_message(row: Address, numbers_shown: bool) -> pb.Address:
    """Return an address. numbers_shown: of its customer."""
    message = pb.Address(
        address_id=row.address_id,
        kind=row.kind,
        region=row.region,
        detail=row.detail,
        recipient=row.recipient,
    )
    return texts_for(message, may_see=numbers_shown)


def category_message(row: Category) -> pb.Category:
    """Return a category."""
    return pb.Category(
        category_id=row.category_id,
        parent_id=row.parent_id or "",
        name=row.name,
        depth=depth_of(row),
        version=row.version,
    )


def view_draft(view: pb.SavedView) -> ViewDraft:
    """Return the view of a form; raises InvalidInput naming the field."""
    if len(view.columns) > MOST_COLUMNS:
        raise InvalidInput(
            "view.columns", "TOO_MANY", "最多{most}列", "At most {most} columns", most=MOST_COLUMNS
        )
    return ViewDraft(
        parse_text(view.name, "view.name", 50),
        parse_view(view.view),
        view.filter,
        view.order_by,
        tuple(parse_text(column, f"view.columns[{index}]", 60) for index, column in enumerate(view.columns)),
        view.shared,
    )


def view_message(row: SavedView, *, own: bool) -> pb.SavedView:
    """Return a saved view. own: the reader's, to whom the own words are told."""
    message = pb.SavedView(
        view_id=row.view_id,
        person_id=row.person_id,
        shared=row.shared,
        name=row.name,
        view=VIEW_MESSAGES[View(row.view)],
        filter=json.dumps(row.filter, ensure_ascii=False) if row.filter else "",
        order_by=row.order_by,
        columns=row.columns,
    )
    return texts_for(message, may_see=own)


def plan_message(row: Plan, customer_name: str, numbers_shown: bool) -> pb.Plan:
    """Return a plan. numbers_shown: of its customer."""
    message = pb.Plan(
        plan_id=row.plan_id,
        customer_id=row.customer_id,
        customer_name=customer_name,
        person_id=row.person_id,
        text=row.text,
        due_time=timestamp(row.due_time),
        complete_time=timestamp(row.complete_time),
    )
    return texts_for(message, may_see=numbers_shown)


def entry_message(row: TimelineEntry, locale: str, numbers_shown: bool) -> pb.TimelineEntry:
    """Return a line of the timeline in the reader's language. numbers_shown: of its customer."""
    texts = LINES.get(row.data.get("what", row.kind), ("{what}", "{what}"))
    data = {name: "、".join(value) if isinstance(value, list) else value for name, value in row.data.items()}
    # What people typed; the other figures are the product's own, such as an order's number.
    if "text" in data:
        data["text"] = text_for(data["text"], may_see=numbers_shown)
    template = texts[locale.lower().startswith("en")]
    return pb.TimelineEntry(
        entry_id=row.entry_id,
        kind=row.kind,
        subject_id=row.subject_id or "",
        actor_id=row.actor_id or "",
        text=show_text(template.format_map(_Blank(data))),
        time=timestamp(row.time),
    )


class _Blank(dict[str, Any]):
    """What an old line lacks is blank."""

    def __missing__(self, key: str) -> str:
        return ""
