"""What is printed: a document's fields and lines under the names that people put into workbooks (F95, F96)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

# What a cell may hold.
Value = str | Decimal | date


class DocumentKind(StrEnum):
    """What can be printed."""

    QUOTE = "quote"
    ORDER = "order"
    CONTRACT = "contract"


@dataclass(frozen=True)
class DocumentField:
    """Something that a workbook's cell may name by its key or by its Chinese name. en: how it is headed in English."""

    key: str
    zh: str
    en: str


TITLES: Mapping[DocumentKind, tuple[str, str]] = {
    DocumentKind.QUOTE: ("报价单", "QUOTATION"),
    DocumentKind.ORDER: ("订单", "ORDER"),
    DocumentKind.CONTRACT: ("合同", "CONTRACT"),
}

NUMBER = DocumentField("number", "编号", "No.")
TITLE = DocumentField("title", "标题", "Subject")
CUSTOMER = DocumentField("customer", "客户", "To")
DAY = DocumentField("date", "日期", "Date")
AMOUNT = DocumentField("amount", "金额", "Amount")

# In the order in which a document shows them.
FIELDS: Mapping[DocumentKind, tuple[DocumentField, ...]] = {
    DocumentKind.QUOTE: (
        NUMBER,
        DAY,
        CUSTOMER,
        TITLE,
        DocumentField("mode", "报价方式", "Terms of delivery"),
        DocumentField("currency", "币种", "Currency"),
        DocumentField("port_of_loading", "装运港", "Port of loading"),
        DocumentField("port_of_destination", "目的港", "Port of destination"),
        DocumentField("valid_until", "有效期至", "Valid until"),
        DocumentField("freight", "运费", "Freight"),
        DocumentField("insurance", "保险费", "Insurance"),
        DocumentField("fob_amount", "FOB金额", "FOB amount"),
        DocumentField("cfr_amount", "CFR金额", "CFR amount"),
        DocumentField("cif_amount", "CIF金额", "CIF amount"),
        AMOUNT,
        DocumentField("terms", "条款", "Terms"),
    ),
    DocumentKind.ORDER: (
        NUMBER,
        DAY,
        CUSTOMER,
        TITLE,
        DocumentField("contract", "合同编号", "Contract"),
        DocumentField("ship_to", "收货地址", "Ship to"),
        AMOUNT,
    ),
    DocumentKind.CONTRACT: (
        NUMBER,
        DAY,
        CUSTOMER,
        TITLE,
        DocumentField("start", "开始日期", "From"),
        DocumentField("end", "结束日期", "Until"),
        AMOUNT,
    ),
}

LINE_FIELDS = (
    DocumentField("position", "序号", "No."),
    DocumentField("code", "产品编码", "Code"),
    DocumentField("name", "名称", "Product"),
    DocumentField("unit", "单位", "Unit"),
    DocumentField("quantity", "数量", "Quantity"),
    DocumentField("unit_price", "单价", "Unit price"),
    DocumentField("amount", "金额", "Amount"),
)
# What stands before a line's field.
LINE_PREFIXES = ("line.", "行.")
# Fields that stand below the lines, as sums, instead of above them.
SUMS = ("fob_amount", "freight", "cfr_amount", "insurance", "cif_amount", "amount")

LINED = frozenset({DocumentKind.QUOTE, DocumentKind.ORDER})


@dataclass(frozen=True)
class Document:
    """A document to print. values: by the fields' keys; one that it does not have is left out. lines: likewise."""

    kind: DocumentKind
    number: str
    values: Mapping[str, Value]
    lines: Sequence[Mapping[str, Value]] = field(default=())


def field_names(kind: DocumentKind) -> dict[str, str]:
    """Return what cells may name and which key is meant: each field by its key and by its Chinese name."""
    names = {name: each.key for each in FIELDS[kind] for name in (each.key, each.zh)}
    if kind in LINED:
        english, chinese = LINE_PREFIXES
        for each in LINE_FIELDS:
            names |= dict.fromkeys((f"{english}{each.key}", f"{chinese}{each.zh}"), f"line.{each.key}")
    return names


def plain(value: Value) -> str:
    """Return a value as a text that a person reads: thousands are parted, days written as 2026-03-01."""
    if isinstance(value, Decimal):
        return f"{value:,.{max(0, -int(value.as_tuple().exponent))}f}"
    return value.isoformat() if isinstance(value, date) else value
