"""What an import is: its states, the fields that columns are mapped to, and a row as the customer it becomes."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeVar

from services.chassis.errors import InvalidInput, RuleViolation
from services.customers.domain.customers import ContactDraft, CustomerDraft, check_name
from services.kernel.credit_codes import parse_credit_code
from services.kernel.fields import FieldDefinition, parse_value
from services.kernel.phones import PhoneNumber, parse_phone
from services.kernel.texts import parse_text

Value = TypeVar("Value")

# Rows of one file.
MOST_ROWS = 100_000
# Size of one file.
LARGEST_FILE_BYTES = 64 * 1024 * 1024
# Numbers in one cell.
MOST_PHONES = 20
NO_NUMBERS: tuple[PhoneNumber, ...] = ()
# What stands between the numbers of a cell.
PHONE_SEPARATOR = re.compile(r"[;；,，、/\n|]+")


class ImportState(StrEnum):
    """How far an import is; docs of the contract's ImportState."""

    UPLOADING = "uploading"
    STAGING = "staging"
    STAGED = "staged"
    CHECKING = "checking"
    CHECKED = "checked"
    COMMITTING = "committing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


# How far an import is, as people say it.
STATE_ZH = {
    ImportState.UPLOADING: "正在上传",
    ImportState.STAGING: "正在读取",
    ImportState.STAGED: "尚未检查",
    ImportState.CHECKING: "正在检查",
    ImportState.CHECKED: "已检查",
    ImportState.COMMITTING: "正在写入",
    ImportState.DONE: "已完成",
    ImportState.FAILED: "已失败",
    ImportState.CANCELLED: "已取消",
}


class RowState(StrEnum):
    """What became of a row."""

    STAGED = "staged"
    READY = "ready"
    BAD = "bad"
    DUPLICATE = "duplicate"
    DONE = "done"


# In which a person may change mapping and rows, and have them checked.
OPEN_STATES = frozenset({ImportState.STAGED, ImportState.CHECKED, ImportState.DONE})
# In which a workflow is at work.
BUSY_STATES = frozenset({ImportState.STAGING, ImportState.CHECKING, ImportState.COMMITTING})


@dataclass(frozen=True)
class Field:
    """Something that a column can be mapped to. names: headers that mean it, besides its labels."""

    key: str
    zh: str
    en: str
    names: tuple[str, ...] = ()
    required: bool = False
    # Of a text.
    longest: int = 0

    def label(self, locale: str) -> str:
        """Return its name for the reader."""
        return self.en if locale.lower().startswith("en") else self.zh

    def parse(self, text: str, name: str) -> str:
        """Return a text of this field; raises InvalidInput naming `name` as `parse_text`."""
        return parse_text(text, name, self.longest, required=self.required)


NAME = Field(
    "name",
    "客户名称",
    "Customer name",
    ("公司名称", "企业名称", "单位名称", "公司", "名称", "company"),
    True,
    200,
)
PHONES = Field(
    "phones", "客户电话", "Customer phones", ("公司电话", "座机", "总机", "固定电话", "电话", "phone", "tel")
)
CREDIT_CODE = Field(
    "credit_code",
    "统一社会信用代码",
    "Credit code",
    ("社会信用代码", "统一信用代码", "信用代码", "税号", "纳税人识别号", "tax number"),
)
CONTACT = Field("contact_name", "联系人", "Contact", ("联系人姓名", "姓名", "contact name"), longest=100)
CONTACT_TITLE = Field("contact_title", "联系人职务", "Contact title", ("职务", "职位", "title"), longest=100)
CONTACT_PHONES = Field(
    "contact_phones",
    "联系人电话",
    "Contact phones",
    ("手机", "手机号", "手机号码", "联系电话", "联系人手机", "mobile"),
)
POOL = Field("pool", "公海", "Pool", ("所属公海", "公海名称"))
LEVEL = Field("level", "客户级别", "Level", ("级别", "等级", "客户等级"), longest=50)
REGION = Field("region", "地区", "Region", ("区域", "所属区域", "所属地区", "所在地区", "省市"), longest=100)
ADDRESS = Field("address", "地址", "Address", ("公司地址", "详细地址", "注册地址"), longest=500)
BUSINESS_TYPE = Field(
    "business_type", "业务类型", "Business type", ("行业", "经营范围", "industry"), longest=100
)

FIELDS = (
    NAME,
    PHONES,
    LEVEL,
    REGION,
    ADDRESS,
    BUSINESS_TYPE,
    CREDIT_CODE,
    CONTACT,
    CONTACT_TITLE,
    CONTACT_PHONES,
    POOL,
)
# Stands before the key of one of the tenant's own fields.
VALUES = "values."


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row. column: header, "" for the whole row; field: key."""

    column: str
    field: str
    reason: str
    zh: str
    en: str


@dataclass(frozen=True)
class Parsed:
    """A row as it was understood. draft: None where something is wrong."""

    draft: CustomerDraft | None
    faults: tuple[Fault, ...]


def fields_of(definitions: Sequence[FieldDefinition]) -> list[Field]:
    """Return everything that a column can be mapped to: the built-in fields, then the tenant's own."""
    return [*FIELDS, *_own_fields(definitions)]


def _own_fields(definitions: Sequence[FieldDefinition]) -> list[Field]:
    return [
        Field(f"{VALUES}{definition.key}", definition.name, definition.name) for definition in definitions
    ]


def suggest_mapping(columns: Sequence[str], fields: Sequence[Field]) -> list[str]:
    """Return for each column the key of the field that its header names, "" for none; each field once."""
    by_name: dict[str, str] = {}
    for field in fields:
        for name in (field.key, field.zh, field.en, *field.names):
            by_name.setdefault(_normal(name), field.key)
    taken: set[str] = set()
    mapping = []
    for column in columns:
        key = by_name.get(_normal(column), "")
        mapping.append("" if key in taken else key)
        taken.add(key)
    return mapping


def _normal(header: str) -> str:
    """Return a header without what people decorate it with: 客户名称（必填）* is 客户名称."""
    plain = unicodedata.normalize("NFKC", header).casefold()
    plain = re.sub(r"\(.*?\)", "", plain)
    return "".join(char for char in plain if char.isalnum())


def check_mapping(mapping: Sequence[str], columns: Sequence[str], fields: Sequence[Field]) -> list[str]:
    """Return a mapping that fits the columns.

    Raises InvalidInput naming `mapping`: MAPPING_LENGTH, MAPPING_FIELD for an unknown field or one that came before.
    """
    if len(mapping) != len(columns):
        raise InvalidInput(
            "mapping",
            "MAPPING_LENGTH",
            "映射应有{columns}项，每列一项",
            "The mapping has one item for each of the {columns} columns",
            columns=len(columns),
        )
    known = {field.key for field in fields}
    for index, key in enumerate(mapping):
        if key and (key not in known or key in mapping[:index]):
            raise InvalidInput(
                f"mapping[{index}]",
                "MAPPING_FIELD",
                "字段“{key}”不存在或已映射到其他列",
                "There is no field “{key}”, or another column is mapped to it",
                key=key,
            )
    return list(mapping)


def check_mapped(mapping: Sequence[str]) -> None:
    """Raise RuleViolation NAME_NOT_MAPPED for a mapping under which no row could be a customer."""
    if NAME.key not in mapping:
        raise RuleViolation(
            "NAME_NOT_MAPPED", "请先将一列映射为客户名称", "Map a column to the customer's name first"
        )


class RowReader:
    """Reads the rows of a file as customers; what is the same for all of them is looked up once.

    mapping: for each column a field's key or "". pools: ids by name; a row that names one goes there. definitions: of
    the tenant's own fields; a column of one that is gone is left out.
    """

    def __init__(
        self,
        columns: Sequence[str],
        mapping: Sequence[str],
        *,
        pools: Mapping[str, str],
        definitions: Sequence[FieldDefinition],
    ) -> None:
        self._header = dict(zip(mapping, columns, strict=False))
        self._places = {key: place for place, key in enumerate(mapping)}
        self._parse_pool = partial(_parse_pool, pools=pools)
        self._own = [
            (definition.key, field, partial(parse_value, definition))
            for definition, field in zip(definitions, _own_fields(definitions), strict=True)
            if field.key in self._header
        ]

    def read(self, cells: Sequence[str], *, customer_id: str, contact_id: str) -> Parsed:
        """Return a row as a customer with everything that is wrong with it."""
        faults: list[Fault] = []

        def get(field: Field, parse: Callable[[str, str], Value], blank: Value) -> Value:
            place = self._places.get(field.key)
            value = cells[place] if place is not None and place < len(cells) else ""
            # A blank says nothing, as most fields of most rows do.
            if not field.required and (not value or value.isspace()):
                return blank
            column = self._header.get(field.key, "")
            try:
                return parse(value, column or field.zh)
            except InvalidInput as wrong:
                faults.append(Fault(column, field.key, wrong.reason, wrong.zh, wrong.en))
                return blank

        name = get(NAME, NAME.parse, "")
        if name:
            get(NAME, lambda *_: check_name(name), "")
        contact_name, contact_phones = (
            get(CONTACT, CONTACT.parse, ""),
            get(CONTACT_PHONES, _parse_phones, NO_NUMBERS),
        )
        contacts: tuple[ContactDraft, ...] = ()
        if contact_name or contact_phones:
            # A number without a name is somebody there.
            title = get(CONTACT_TITLE, CONTACT_TITLE.parse, "")
            contacts = (ContactDraft(contact_id, contact_name or name, title, contact_phones),)
        pool_id = get(POOL, self._parse_pool, "")
        own = {key: get(field, parse, None) for key, field, parse in self._own}
        draft = CustomerDraft(
            id=customer_id,
            name=name,
            level=get(LEVEL, LEVEL.parse, ""),
            region=get(REGION, REGION.parse, ""),
            address=get(ADDRESS, ADDRESS.parse, ""),
            business_type=get(BUSINESS_TYPE, BUSINESS_TYPE.parse, ""),
            phones=get(PHONES, _parse_phones, NO_NUMBERS),
            contacts=contacts,
            pool_id=pool_id,
            credit_code=get(CREDIT_CODE, parse_credit_code, ""),
            values={key: value for key, value in own.items() if value is not None},
        )
        return Parsed(None if faults else draft, tuple(faults))


def _parse_phones(text: str, field: str) -> tuple[PhoneNumber, ...]:
    typed = [part for part in PHONE_SEPARATOR.split(text) if part.strip()]
    if len(typed) == 1:
        return (parse_phone(typed[0], field),)
    if len(typed) > MOST_PHONES:
        raise InvalidInput(
            field, "TOO_MANY", "{field} 最多{most}项", "{field} has at most {most} items", most=MOST_PHONES
        )
    # The same number twice is one number.
    return tuple(dict.fromkeys(parse_phone(part, field) for part in typed))


def _parse_pool(text: str, _: str, *, pools: Mapping[str, str]) -> str:
    name = text.strip()
    if name not in pools:
        raise InvalidInput(
            "pool", "POOL_UNKNOWN", "没有名为“{name}”的公海", "There is no pool named “{name}”", name=name
        )
    return pools[name]
