"""Typed fields that a tenant adds to its records: what a value may be, how it is stored, read, shown.

A value is stored as JSON: text for most types, true or false, a list of texts for several choices. Numbers, days and
times are stored as text in one canonical form, so that nothing is lost on the way and equal values are equal texts. The
type and key of a field never change, so what was stored can always be read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum

from services.chassis.declarations import show_text
from services.chassis.errors import AlreadyExists, InvalidInput
from services.kernel.china_time import CHINA
from services.kernel.money import format_amount, parse_amount
from services.kernel.phones import display_number, kept, mask_number, parse_phone, text_for
from services.kernel.texts import parse_text

# How a value is stored, and what it is in Python.
Stored = str | bool | list[str]
Typed = str | bool | Decimal | date | datetime | tuple[str, ...]

# Fields that one kind of record may have, and choices that one field may have.
MOST_FIELDS = 100
MOST_CHOICES = 200
# Longest text a field may allow, and how long it is when nobody says so.
LONGEST_TEXT = 4000
DEFAULT_LENGTH = 200
KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Up to 18 digits before the point and 6 behind it.
NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,6})?")
EMAIL = re.compile(r"[^@\s,;<>\"]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}")
LINK = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
# How days are typed, and found in files: 2026-03-01, 2026/3/1, 2026.3.1, 2026年3月1日.
DAY = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
BOOLEANS = {
    "true": True,
    "false": False,
    "是": True,
    "否": False,
    "yes": True,
    "no": False,
    "1": True,
    "0": False,
}
# What stands between choices in one text.
CHOICE_SEPARATORS = re.compile(r"[;；、,，|\n]")
# What a listed value is cut by in a file.
CHOICE_SEPARATOR = "、"


class FieldType(StrEnum):
    """What a field holds. REGION: a place as it is written, for example 上海市浦东新区."""

    TEXT = "text"
    LONG_TEXT = "long_text"
    NUMBER = "number"
    AMOUNT = "amount"
    DATE = "date"
    DATETIME = "datetime"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    CHOICES = "choices"
    PHONE = "phone"
    EMAIL = "email"
    LINK = "link"
    REGION = "region"


# Types whose length a setting bounds.
TEXTS = frozenset({FieldType.TEXT, FieldType.LONG_TEXT, FieldType.EMAIL, FieldType.LINK, FieldType.REGION})
# Types whose values may be asked to be unique, and be found by the quick search.
IDENTIFYING = frozenset(
    {
        FieldType.TEXT,
        FieldType.NUMBER,
        FieldType.DATE,
        FieldType.PHONE,
        FieldType.EMAIL,
        FieldType.LINK,
    }
)


@dataclass(frozen=True)
class FieldDefinition:
    """A field (F241). key: its name in JSON; name: its label. max_length: in characters, of the types in TEXTS.

    searchable: the quick search finds its values. listed: a column of the list. choices: of CHOICE and CHOICES.
    """

    key: str
    name: str
    type: FieldType
    required: bool = False
    unique: bool = False
    searchable: bool = False
    listed: bool = False
    max_length: int = DEFAULT_LENGTH
    choices: tuple[str, ...] = ()


def check_definition(definition: FieldDefinition, field: str) -> FieldDefinition:
    """Return a definition that can be stored.

    Raises InvalidInput naming the part below `field`: FIELD_KEY_INVALID, TEXT_EMPTY and the like for the name,
    FIELD_LENGTH_OUT_OF_RANGE, FIELD_CHOICES_INVALID, FIELD_NOT_UNIQUE, FIELD_NOT_SEARCHABLE for types that cannot be.
    """
    if not KEY.fullmatch(definition.key):
        raise InvalidInput(
            f"{field}.key",
            "FIELD_KEY_INVALID",
            "字段标识以小写字母开头，由小写字母、数字和下划线组成，最多40个",
            "A key starts with a small letter; small letters, digits and underscores, at most 40",
        )
    if definition.type in TEXTS and not 1 <= definition.max_length <= LONGEST_TEXT:
        raise InvalidInput(
            f"{field}.max_length",
            "FIELD_LENGTH_OUT_OF_RANGE",
            "最大长度须在 1 到 {most} 之间",
            "The longest length is 1 to {most}",
            most=LONGEST_TEXT,
        )
    choosing = definition.type in (FieldType.CHOICE, FieldType.CHOICES)
    choices = tuple(
        parse_text(choice, f"{field}.choices[{index}]", 100)
        for index, choice in enumerate(definition.choices)
    )
    splits = any(CHOICE_SEPARATORS.search(choice) for choice in choices)
    if (
        choosing != bool(choices)
        or len(set(choices)) < len(choices)
        or len(choices) > MOST_CHOICES
        or (splits and definition.type == FieldType.CHOICES)
    ):
        raise InvalidInput(
            f"{field}.choices",
            "FIELD_CHOICES_INVALID",
            "单选、多选字段须有 1 到 {most} 个互不相同的选项，多选的选项不含分隔符；其他类型没有选项",
            "A field of choices has 1 to {most} different ones, without separators if several may be chosen; "
            "other types have none",
            most=MOST_CHOICES,
        )
    if definition.unique and definition.type not in IDENTIFYING:
        raise InvalidInput(
            f"{field}.unique", "FIELD_NOT_UNIQUE", "该类型的字段不能设为唯一", "This type cannot be unique"
        )
    if definition.searchable and definition.type not in IDENTIFYING | {FieldType.REGION}:
        raise InvalidInput(
            f"{field}.searchable",
            "FIELD_NOT_SEARCHABLE",
            "该类型的字段不能快捷搜索",
            "This type cannot be searched for",
        )
    return FieldDefinition(
        **{
            **vars(definition),
            "name": parse_text(definition.name, f"{field}.name", 50),
            "choices": choices,
        }
    )


def parse_value(definition: FieldDefinition, value: object, field: str) -> Stored | None:
    """Return a value as it is stored, None for an empty one; whether it may be empty is not asked here.

    value: from JSON or from a cell of a file: a text serves for every type (amounts and numbers as typed, days as
    2026-03-01 or 2026年3月1日, 是 or 否, choices with 、 between them).
    Raises InvalidInput naming `field`: FIELD_VALUE_INVALID, TEXT_TOO_LONG, CHOICE_UNKNOWN, AMOUNT_INVALID, PHONE_*.
    """
    if value is None or (isinstance(value, str) and not value.strip()) or value == []:
        return None
    if definition.type == FieldType.CHOICES:
        return _choices(definition, value, field)
    if definition.type == FieldType.BOOLEAN:
        return _boolean(definition, value, field)
    if isinstance(value, bool | list | tuple | dict):
        raise _invalid(definition, field, "文本", "a text")
    return _PARSERS.get(definition.type, _text)(definition, str(value).strip(), field)


def parse_values(
    definitions: Sequence[FieldDefinition],
    values: Mapping[str, object],
    field: str,
    *,
    before: Mapping[str, Stored] | None = None,
) -> dict[str, Stored]:
    """Return all values of a record as they are stored, empty ones left out.

    before: those that stand, for an edit: keys that are not named keep their value, so do those that are given back as
    they were shown without numbers; an empty value clears it. What stands under a key without definition is kept, so
    that a field may come back.
    Raises InvalidInput naming `field.key`: FIELD_UNKNOWN, FIELD_REQUIRED, and as `parse_value`.
    """
    known = {definition.key: definition for definition in definitions}
    for key in values:
        if key not in known:
            raise InvalidInput(f"{field}.{key}", "FIELD_UNKNOWN", "没有这样的字段", "There is no such field")
    result = dict(before or {})
    for definition in definitions:
        path = f"{field}.{definition.key}"
        if definition.key in values:
            given = kept(values[definition.key], result.get(definition.key))
            stored = parse_value(definition, given, path)
            if stored is None:
                result.pop(definition.key, None)
            else:
                result[definition.key] = stored
        # An old record that lacks a field which became required later may be edited elsewhere.
        asked = before is None or definition.key in values
        if definition.required and asked and definition.key not in result:
            raise InvalidInput(
                path, "FIELD_REQUIRED", "{name} 必填", "{name} is required", name=definition.name
            )
    return result


def typed_value(definition: FieldDefinition, stored: Stored | None) -> Typed | None:
    """Return a stored value as Python compares it."""
    if isinstance(stored, list):
        return tuple(stored)
    if stored is None or isinstance(stored, bool):
        return stored
    match definition.type:
        case FieldType.NUMBER | FieldType.AMOUNT:
            return Decimal(stored)
        case FieldType.DATE:
            return date.fromisoformat(stored)
        case FieldType.DATETIME:
            return datetime.fromisoformat(stored)
    return stored


def display_value(definition: FieldDefinition, stored: Stored | None, *, numbers_shown: bool = True) -> str:
    """Return a stored value as a person reads it, and as `parse_value` understands it again unless it is masked.

    numbers_shown: whether the reader may see telephone numbers; figures and choices are none, however long.
    """
    if stored is None:
        return ""
    if isinstance(stored, bool):
        return "是" if stored else "否"
    if isinstance(stored, list):
        return show_text(CHOICE_SEPARATOR.join(stored))
    match definition.type:
        case FieldType.DATETIME:
            return datetime.fromisoformat(stored).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")
        case FieldType.PHONE:
            number, _, extension = stored.partition(";ext=")
            if not numbers_shown:
                return mask_number(number)
            return show_text(display_number(number) + (f"转{extension}" if extension else ""))
    return _text_for(definition, stored, numbers_shown=numbers_shown)


def shown_values(
    definitions: Sequence[FieldDefinition], stored: Mapping[str, Stored], *, numbers_shown: bool
) -> dict[str, Stored]:
    """Return the values that a reader gets: of the fields there are, telephone numbers masked if need be (F59).

    Figures and choices are no numbers, however long.
    """
    result: dict[str, Stored] = {}
    for definition in definitions:
        value = stored.get(definition.key)
        if value is None:
            continue
        if definition.type == FieldType.PHONE and not numbers_shown:
            value = mask_number(str(value).partition(";ext=")[0])
        elif isinstance(value, str):
            value = _text_for(definition, value, numbers_shown=numbers_shown)
        elif isinstance(value, list):
            show_text(CHOICE_SEPARATOR.join(value))
        result[definition.key] = value
    return result


def _text_for(definition: FieldDefinition, text: str, *, numbers_shown: bool) -> str:
    return text_for(text, may_see=numbers_shown or definition.type not in TEXTS)


def value_taken(definition: FieldDefinition, field: str) -> AlreadyExists:
    """Return the refusal of a value that another record has in a unique field."""
    return AlreadyExists(
        "FIELD_VALUE_TAKEN",
        "{name} 的值已被使用",
        "Another record has this {name}",
        field=field,
        name=definition.name,
    )


def _boolean(definition: FieldDefinition, value: object, field: str) -> bool:
    found = value if isinstance(value, bool) else BOOLEANS.get(str(value).strip().lower())
    if found is None:
        raise _invalid(definition, field, "是或否", "true or false")
    return found


def _text(definition: FieldDefinition, text: str, field: str) -> str:
    text = parse_text(text, field, definition.max_length)
    if definition.type == FieldType.EMAIL:
        if not EMAIL.fullmatch(text):
            raise _invalid(definition, field, "邮箱地址", "a mail address")
        return text.lower()
    if definition.type == FieldType.LINK and not LINK.fullmatch(text):
        raise _invalid(
            definition, field, "以 http:// 或 https:// 开头的网址", "a link with http:// or https://"
        )
    return text


def _number(definition: FieldDefinition, text: str, field: str) -> str:
    plain = text.replace(",", "")
    if not NUMBER.fullmatch(plain):
        raise _invalid(definition, field, "数字，最多6位小数", "a number with at most 6 decimals")
    number = Decimal(plain)
    # Without an exponent, a minus before zero or zeros at the end: equal numbers are equal texts.
    return f"{number.normalize() + 0:f}" if number else "0"


def parse_day(text: str) -> date | None:
    """Return a day as people type it, None for what is none."""
    found = DAY.fullmatch(text)
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _day(definition: FieldDefinition, text: str, field: str) -> str:
    if day := parse_day(text):
        return day.isoformat()
    raise _invalid(definition, field, "日期，如 2026-03-01", "a day such as 2026-03-01")


def _time(definition: FieldDefinition, text: str, field: str) -> str:
    day, _, rest = text.partition(" ")
    found = DAY.fullmatch(day)
    if found:
        text = f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}" + (f"T{rest.strip()}" if rest else "")
    try:
        time = datetime.fromisoformat(text)
        # A time without a zone is China's.
        return (time if time.tzinfo else time.replace(tzinfo=CHINA)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise _invalid(
            definition, field, "时间，如 2026-03-01 09:30", "a time such as 2026-03-01T09:30:00+08:00"
        ) from None


def _choice(definition: FieldDefinition, text: str, field: str) -> str:
    if text not in definition.choices:
        raise InvalidInput(
            field,
            "CHOICE_UNKNOWN",
            "{name} 没有选项“{choice}”",
            "{name} has no choice “{choice}”",
            name=definition.name,
            choice=text[:100],
        )
    return text


def _choices(definition: FieldDefinition, value: object, field: str) -> list[str]:
    parts = CHOICE_SEPARATORS.split(value) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise _invalid(definition, field, "选项的列表", "a list of choices")
    chosen = {_choice(definition, str(part).strip(), field) for part in parts if str(part).strip()}
    # In the order of the settings, so that equal choices are equal values.
    return [choice for choice in definition.choices if choice in chosen]


def _amount(definition: FieldDefinition, text: str, field: str) -> str:
    return format_amount(parse_amount(text.replace(",", "").removeprefix("¥"), field))


def _phone(definition: FieldDefinition, text: str, field: str) -> str:
    return parse_phone(text, field).key


# How a text becomes what is stored; for the other types it is one already.
_PARSERS: Mapping[FieldType, Callable[[FieldDefinition, str, str], str]] = {
    FieldType.NUMBER: _number,
    FieldType.AMOUNT: _amount,
    FieldType.DATE: _day,
    FieldType.DATETIME: _time,
    FieldType.CHOICE: _choice,
    FieldType.PHONE: _phone,
}


def _invalid(definition: FieldDefinition, field: str, zh: str, en: str) -> InvalidInput:
    return InvalidInput(
        field,
        "FIELD_VALUE_INVALID",
        "{name} 应为{expected_zh}",
        "{name} has to be {expected}",
        name=definition.name,
        expected_zh=zh,
        expected=en,
    )
