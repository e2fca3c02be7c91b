"""The filter language: one for lists, pools, exports, rules and bulk actions.

As JSON, a filter is a condition, or a group of filters of which all or any have to hold:

    {"field": "region", "op": "eq", "value": "上海"}
    {"all": [{"field": "level", "op": "in", "value": ["A", "B"]},
             {"any": [{"field": "create_time", "op": "within_last_days", "value": 30},
                      {"field": "owner_id", "op": "eq", "value": "me"}]}]}

    kinds = {"region": Kind.TEXT, ...}                        what may be asked, built-in fields and custom ones alike
    filter_ = Filter.parse(text, kinds)                       raises InvalidInput naming the path: filter.all[1].value
    filter_.matches(row, Context(now, person_id))             row: values by field, as `Kind` says
    filter_.to_sql(columns, Context(now, person_id))          columns: `Column` by field

Both evaluations give the same rows. An answer is yes or no, never unknown: an empty value (NULL, no text or item)
holds for `empty` and for the operators that deny (`ne`, `not_in`, `not_contains`, `not_within_last_days`), else never.
`contains` and `prefix` take A and a for the same. In SQL, a text with a telephone number in it that whoever asks may
not read is found by no digits. A day asked of a time is the whole day in China; days counted back or on include today.
A filter is pure data: it can be stored with a rule or a view and read again.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import Boolean, ColumnElement, Date, DateTime, Numeric, and_, func, not_, or_, true
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import Text

from services.chassis.errors import InvalidInput
from services.chassis.ids import parse_id
from services.chassis.numbers import A_NUMBER, DIGIT, GROUPED, NO_NUMBER
from services.kernel.china_time import CHINA, day_start
from services.kernel.fields import DAY, NUMBER, FieldDefinition, FieldType, parse_day

# Bounds, so that no filter costs more than a list should. Groups within groups, the outermost one counted:
DEEPEST = 5
MOST_CONDITIONS = 50
# Values of one `in`.
MOST_VALUES = 200
LONGEST_VALUE = 500
# Characters of a whole filter.
LONGEST_FILTER = 50_000
# Farthest day that may be counted to, about a hundred years.
MOST_DAYS = 36_500

HAS_DIGIT = re.compile(DIGIT)
# PostgreSQL knows no order of alternatives: what follows upon digits counts with them.
_NO_NUMBER = f"(?<!{DIGIT}{GROUPED})(?:{NO_NUMBER})"
UPPER, LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
FOLD = str.maketrans(UPPER, LOWER)
# The person who looks, so that a shared filter means everyone's own.
ME = "me"
# Finest step of time, in Python and in PostgreSQL.
TICK = timedelta(microseconds=1)


class Kind(StrEnum):
    """What a field holds in a row: str, Decimal or int, date, aware datetime, bool, sequence of str, an id; or None."""

    TEXT = "text"
    CHOICE = "choice"
    NUMBER = "number"
    DATE = "date"
    TIME = "time"
    BOOLEAN = "boolean"
    LIST = "list"
    ID = "id"


class Operator(StrEnum):
    """What is asked of a field."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    PREFIX = "prefix"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    BETWEEN = "between"
    EMPTY = "empty"
    NOT_EMPTY = "not_empty"
    WITHIN_LAST_DAYS = "within_last_days"
    NOT_WITHIN_LAST_DAYS = "not_within_last_days"
    WITHIN_NEXT_DAYS = "within_next_days"


# Operators that deny another one.
DENIALS = {
    Operator.NE: Operator.EQ,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_CONTAINS: Operator.CONTAINS,
    Operator.NOT_EMPTY: Operator.EMPTY,
    Operator.NOT_WITHIN_LAST_DAYS: Operator.WITHIN_LAST_DAYS,
}
_SAME = (Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN)
_EMPTY = (Operator.EMPTY, Operator.NOT_EMPTY)
_ORDER = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.BETWEEN)
_DAYS = (Operator.WITHIN_LAST_DAYS, Operator.NOT_WITHIN_LAST_DAYS, Operator.WITHIN_NEXT_DAYS)
_PART = (Operator.CONTAINS, Operator.NOT_CONTAINS)
# What may be asked of each kind.
OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    Kind.TEXT: (*_SAME, *_PART, Operator.PREFIX, *_EMPTY),
    Kind.CHOICE: (*_SAME, *_EMPTY),
    Kind.ID: (*_SAME, *_EMPTY),
    Kind.NUMBER: (*_SAME, *_ORDER, *_EMPTY),
    Kind.DATE: (*_SAME, *_ORDER, *_DAYS, *_EMPTY),
    Kind.TIME: (Operator.EQ, Operator.NE, *_ORDER, *_DAYS, *_EMPTY),
    Kind.BOOLEAN: (Operator.EQ, Operator.NE, *_EMPTY),
    Kind.LIST: (*_PART, Operator.IN, Operator.NOT_IN, *_EMPTY),
}
# How a custom field is asked.
FIELD_KINDS: Mapping[FieldType, Kind] = {
    FieldType.TEXT: Kind.TEXT,
    FieldType.LONG_TEXT: Kind.TEXT,
    FieldType.NUMBER: Kind.NUMBER,
    FieldType.AMOUNT: Kind.NUMBER,
    FieldType.DATE: Kind.DATE,
    FieldType.DATETIME: Kind.TIME,
    FieldType.BOOLEAN: Kind.BOOLEAN,
    FieldType.CHOICE: Kind.CHOICE,
    FieldType.CHOICES: Kind.LIST,
    # Telephone numbers are asked whole or not at all: by their parts a masked one could be found out.
    FieldType.PHONE: Kind.CHOICE,
    FieldType.EMAIL: Kind.TEXT,
    FieldType.LINK: Kind.TEXT,
    FieldType.REGION: Kind.TEXT,
}


@dataclass(frozen=True)
class Span:
    """A piece of time, the end not in it: an instant is one tick long, a day is a day in China."""

    start: datetime
    end: datetime


Value = str | Decimal | date | bool | Span | int


@dataclass(frozen=True)
class Context:
    """What a filter means by today and by me."""

    now: datetime
    person_id: str = ""


@dataclass(frozen=True)
class Column:
    """Where a field is in SQL. expression: of the type that its kind has; a list may be an ARRAY or JSONB.

    document, key: for a text in JSONB, the document and the key, so that an index over the document serves equality.
    shown: for a text that people type, whether who asks may read the numbers in it; None where everybody may.
    """

    expression: ColumnElement[Any]
    document: ColumnElement[Any] | None = None
    key: str = ""
    shown: ColumnElement[bool] | None = None


def may_find(
    text: ColumnElement[str] | InstrumentedAttribute[str], asked: str, shown: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Return the condition that a text may be found by what is asked for, see `Column`.

    Who may not read a number in a text finds out none by asking for digits: such a text is not found by any.
    """
    if not HAS_DIGIT.search(asked):
        return true()
    without = func.regexp_replace(text, _NO_NUMBER, "x", "g")
    return or_(shown, not_(without.regexp_match(A_NUMBER)))


def custom_column(
    document: ColumnElement[Any], definition: FieldDefinition, shown: ColumnElement[bool] | None = None
) -> Column:
    """Return where a custom field's value is, given the JSONB column of all of them."""
    text = document[definition.key].astext
    match FIELD_KINDS[definition.type]:
        case Kind.NUMBER:
            return Column(cast_to(text, Numeric))
        case Kind.DATE:
            return Column(cast_to(text, Date))
        case Kind.TIME:
            return Column(cast_to(text, DateTime(timezone=True)))
        case Kind.BOOLEAN:
            return Column(cast_to(text, Boolean))
        case Kind.LIST:
            return Column(document[definition.key])
    return Column(text, document, definition.key, shown)


@dataclass(frozen=True)
class Condition:
    """One question. values: none for `empty`, two for `between`, any number for `in`, else one."""

    field: str
    kind: Kind
    operator: Operator
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Group:
    """Questions of which all, or any, have to be answered with yes."""

    every: bool
    parts: tuple["Condition | Group", ...]


@dataclass(frozen=True)
class Filter:
    """A filter that was checked against the fields there are. An empty one lets everything pass."""

    root: Condition | Group
    # As it was given: what is stored.
    document: Mapping[str, Any]

    @classmethod
    def parse(
        cls, text: str | Mapping[str, Any], kinds: Mapping[str, Kind], field: str = "filter"
    ) -> "Filter":
        """Return a filter out of JSON, as text or parsed; "" lets everything pass.

        Raises InvalidInput naming the path below `field`: FILTER_INVALID, FILTER_FIELD_UNKNOWN,
        FILTER_OPERATOR_UNKNOWN, FILTER_VALUE_INVALID, FILTER_TOO_LARGE.
        """
        document = _load(text, field) if isinstance(text, str) else text
        if not document:
            return cls(Group(True, ()), {})
        return cls(_Parser(kinds).node(document, field, 1), document)

    @property
    def fields(self) -> frozenset[str]:
        """The fields that it asks about."""
        return frozenset(condition.field for condition in _conditions(self.root))

    def matches(self, row: Mapping[str, Any], context: Context) -> bool:
        """Tell whether a row passes; a field that it does not have is empty."""
        return _matches(self.root, row, context)

    def to_sql(self, columns: Mapping[str, Column], context: Context) -> ColumnElement[bool]:
        """Return the condition for a query; raises KeyError for a field without a column."""
        return _to_sql(self.root, columns, context)

    def to_json(self) -> str:
        """Return it as text that `parse` understands."""
        return json.dumps(self.document, ensure_ascii=False, default=str)


def _load(text: str, field: str) -> Mapping[str, Any]:
    if len(text) > LONGEST_FILTER:
        raise _too_large(field)
    if not text.strip():
        return {}
    try:
        document = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise _invalid(field, "筛选条件不是有效的 JSON", "The filter is not JSON") from None
    if not isinstance(document, Mapping):
        raise _shape(field)
    return document


def _conditions(node: Condition | Group) -> list[Condition]:
    if isinstance(node, Condition):
        return [node]
    return [condition for part in node.parts for condition in _conditions(part)]


class _Parser:
    """Checks a document against the fields there are, and counts what it costs."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._count = 0

    def node(self, document: Any, path: str, depth: int) -> Condition | Group:
        if not isinstance(document, Mapping):
            raise _shape(path)
        keys = set(document)
        if keys in ({"all"}, {"any"}):
            (word,) = keys
            if depth > DEEPEST:
                raise _too_large(path)
            parts = document[word]
            if not isinstance(parts, Sequence) or isinstance(parts, str):
                raise _shape(f"{path}.{word}")
            # Before the parts are looked at, so that a long list costs nothing.
            if len(parts) > MOST_CONDITIONS:
                raise _too_large(f"{path}.{word}")
            if not parts:
                raise _shape(f"{path}.{word}")
            return Group(
                word == "all",
                tuple(
                    self.node(part, f"{path}.{word}[{index}]", depth + 1) for index, part in enumerate(parts)
                ),
            )
        if not {"field", "op"} <= keys <= {"field", "op", "value"}:
            raise _shape(path)
        self._count += 1
        if self._count > MOST_CONDITIONS:
            raise _too_large(path)
        return self._condition(document, path)

    def _condition(self, document: Mapping[str, Any], path: str) -> Condition:
        name, word, value = document["field"], document["op"], document.get("value")
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            raise InvalidInput(
                f"{path}.field",
                "FILTER_FIELD_UNKNOWN",
                "没有可筛选的字段 {name}",
                "There is no field {name} to filter by",
                name=str(name)[:50],
            )
        operators = OPERATORS[kind]
        if word not in operators:
            raise InvalidInput(
                f"{path}.op",
                "FILTER_OPERATOR_UNKNOWN",
                "该字段可用的条件：{known}",
                "This field may be asked: {known}",
                known=", ".join(operators),
            )
        operator = Operator(word)
        return Condition(name, kind, operator, _values(kind, operator, value, f"{path}.value"))


def _values(kind: Kind, operator: Operator, value: Any, path: str) -> tuple[Value, ...]:
    match operator:
        case Operator.EMPTY | Operator.NOT_EMPTY:
            if value is not None:
                raise _value(path, "没有值", "no value")
            return ()
        case Operator.IN | Operator.NOT_IN | Operator.BETWEEN:
            between = operator == Operator.BETWEEN
            least, most = (2, 2) if between else (1, MOST_VALUES)
            if not isinstance(value, Sequence) or isinstance(value, str) or not least <= len(value) <= most:
                raise _value(path, f"{least} 到 {most} 个值的列表", f"a list of {least} to {most} values")
            return tuple(_one(kind, item, f"{path}[{index}]") for index, item in enumerate(value))
    if operator in _DAYS:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_DAYS:
            raise _value(path, f"1 到 {MOST_DAYS} 的天数", f"days from 1 to {MOST_DAYS}")
        return (value,)
    return (_one(kind, value, path),)


def _one(kind: Kind, value: Any, path: str) -> Value:
    match kind:
        case Kind.BOOLEAN:
            if isinstance(value, bool):
                return value
            raise _value(path, "true 或 false", "true or false")
        case Kind.NUMBER:
            if not isinstance(value, bool) and isinstance(value, int | float | Decimal | str):
                text = value if isinstance(value, str) else f"{Decimal(str(value)):f}"
                if NUMBER.fullmatch(text):
                    return Decimal(text)
            raise _value(path, "数字", "a number")
    if not isinstance(value, str) or not value or len(value) > LONGEST_VALUE or not _storable(value):
        raise _value(path, f"1 到 {LONGEST_VALUE} 个字的文本", f"a text of 1 to {LONGEST_VALUE} characters")
    match kind:
        case Kind.ID:
            return value if value == ME else parse_id(value, path)
        case Kind.DATE:
            return _day(value, path)
        case Kind.TIME:
            return _span(value, path)
    return value


def _storable(text: str) -> bool:
    """Tell whether PostgreSQL can be given a text: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _day(text: str, path: str) -> date:
    if day := parse_day(text):
        return day
    raise _value(path, "日期，如 2026-03-01", "a day such as 2026-03-01")


def _span(text: str, path: str) -> Span:
    try:
        if DAY.fullmatch(text):
            day = _day(text, path)
            start = datetime(day.year, day.month, day.day, tzinfo=CHINA)
            return Span(start, start + timedelta(days=1))
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None and 1 < time.year < 9999:
            return Span(time, time + TICK)
    except (ValueError, OverflowError):
        pass
    raise _value(
        path,
        "日期，或带时区的时间，如 2026-03-01T09:30:00+08:00",
        "a day, or a time with its zone such as 2026-03-01T09:30:00+08:00",
    )


def _days(condition: Condition, context: Context) -> tuple[date, date]:
    """Return the first and the last day that a count of days means, today included."""
    today = context.now.astimezone(CHINA).date()
    farther = timedelta(days=cast(int, condition.values[0]) - 1)
    if condition.operator == Operator.WITHIN_NEXT_DAYS:
        return today, today + farther
    return today - farther, today


def _days_span(condition: Condition, context: Context) -> Span:
    first, last = _days(condition, context)
    today = day_start(context.now)
    offset = today.astimezone(CHINA).date()
    return Span(today + (first - offset), today + (last - offset) + timedelta(days=1))


def _resolved(condition: Condition, context: Context) -> list[Value]:
    """Return its values with me as who looks."""
    return [
        context.person_id if condition.kind == Kind.ID and value == ME else value
        for value in condition.values
    ]


# In plain Python.


def _matches(node: Condition | Group, row: Mapping[str, Any], context: Context) -> bool:
    if isinstance(node, Group):
        return (all if node.every else any)(_matches(part, row, context) for part in node.parts)
    denied = DENIALS.get(node.operator)
    if denied:
        return not _holds(Condition(node.field, node.kind, denied, node.values), row, context)
    return _holds(node, row, context)


def _holds(condition: Condition, row: Mapping[str, Any], context: Context) -> bool:
    found = row.get(condition.field)
    missing = found is None or (condition.kind != Kind.BOOLEAN and found in ("", [], ()))
    if condition.operator == Operator.EMPTY:
        return missing
    if missing:
        return False
    if condition.operator in (Operator.WITHIN_LAST_DAYS, Operator.WITHIN_NEXT_DAYS):
        if condition.kind == Kind.DATE:
            first, last = _days(condition, context)
            return bool(first <= cast(date, found) <= last)
        span = _days_span(condition, context)
        return bool(span.start <= cast(datetime, found) < span.end)
    values = _resolved(condition, context)
    if condition.kind == Kind.LIST:
        return any(value in cast(Sequence[str], found) for value in values)
    match condition.operator:
        case Operator.CONTAINS:
            return cast(str, values[0]).translate(FOLD) in cast(str, found).translate(FOLD)
        case Operator.PREFIX:
            return cast(str, found).translate(FOLD).startswith(cast(str, values[0]).translate(FOLD))
    if condition.kind == Kind.TIME:
        return _compare_time(condition.operator, cast(datetime, found), cast(list[Span], values))
    held: bool = _compare(condition.operator, found, values)
    return held


def _compare(operator: Operator, found: Any, values: Sequence[Any]) -> Any:
    """Answer a comparison that orders; in Python, of `eq`, `in` and `between` too."""
    match operator:
        case Operator.EQ:
            return found == values[0]
        case Operator.GT:
            return found > values[0]
        case Operator.GTE:
            return found >= values[0]
        case Operator.LT:
            return found < values[0]
        case Operator.LTE:
            return found <= values[0]
        case Operator.BETWEEN:
            return values[0] <= found <= values[1]
    return found in values


def _compare_time(operator: Operator, found: datetime, spans: Sequence[Span]) -> bool:
    match operator:
        case Operator.EQ:
            return spans[0].start <= found < spans[0].end
        case Operator.GT:
            return found >= spans[0].end
        case Operator.GTE:
            return found >= spans[0].start
        case Operator.LT:
            return found < spans[0].start
        case Operator.LTE:
            return found < spans[0].end
    return spans[0].start <= found < spans[1].end


# In SQL.


def _to_sql(node: Condition | Group, columns: Mapping[str, Column], context: Context) -> ColumnElement[bool]:
    if isinstance(node, Group):
        if not node.parts:
            return true()
        return (and_ if node.every else or_)(*(_to_sql(part, columns, context) for part in node.parts))
    column = columns[node.field]
    denied = DENIALS.get(node.operator)
    if denied is None:
        return _sql(node, column, context)
    asked = _sql(Condition(node.field, node.kind, denied, node.values), column, context)
    if denied == Operator.EMPTY:
        return not_(asked)
    # What is missing makes a comparison unknown, and unknown is denied too.
    return func.coalesce(not_(asked), true())


def _sql(condition: Condition, column: Column, context: Context) -> ColumnElement[bool]:
    asked = _sql_asked(condition, column, context)
    if condition.kind != Kind.TEXT or column.shown is None or not condition.values:
        return asked
    return and_(
        asked, may_find(column.expression, "".join(cast(tuple[str, ...], condition.values)), column.shown)
    )


def _sql_asked(condition: Condition, column: Column, context: Context) -> ColumnElement[bool]:
    found = column.expression
    if condition.operator == Operator.EMPTY:
        return _sql_empty(condition.kind, found)
    if condition.operator in (Operator.WITHIN_LAST_DAYS, Operator.WITHIN_NEXT_DAYS):
        if condition.kind == Kind.DATE:
            first, last = _days(condition, context)
            return and_(found >= first, found <= last)
        span = _days_span(condition, context)
        return and_(found >= span.start, found < span.end)
    values = _resolved(condition, context)
    match condition.kind:
        case Kind.LIST:
            return _sql_any(found, cast(list[str], values))
        case Kind.TIME:
            return _sql_time(condition.operator, found, cast(list[Span], values))
    match condition.operator:
        case Operator.CONTAINS:
            return _folded(found).contains(cast(str, values[0]).translate(FOLD), autoescape=True)
        case Operator.PREFIX:
            return _folded(found).startswith(cast(str, values[0]).translate(FOLD), autoescape=True)
        case Operator.EQ | Operator.IN if column.document is not None:
            return or_(*(column.document.contains({column.key: value}) for value in values))
        case Operator.BETWEEN:
            return found.between(values[0], values[1])
        case Operator.EQ | Operator.IN:
            # Nobody, where the system looks and me is asked for, is no id.
            known = [value for value in values if value != ""]
            return found.in_(known)
    compared: ColumnElement[bool] = _compare(condition.operator, found, values)
    return compared


def _folded(text: ColumnElement[Any]) -> ColumnElement[str]:
    return func.translate(text, UPPER, LOWER, type_=Text)


def _sql_empty(kind: Kind, found: ColumnElement[Any]) -> ColumnElement[bool]:
    match kind:
        case Kind.TEXT | Kind.CHOICE:
            return or_(found.is_(None), found == "")
        case Kind.LIST:
            size = (
                func.jsonb_array_length(found) if isinstance(found.type, JSONB) else func.cardinality(found)
            )
            return func.coalesce(size, 0) == 0
    return found.is_(None)


def _sql_any(found: ColumnElement[Any], values: list[str]) -> ColumnElement[bool]:
    """Return whether a list holds one of the values at least."""
    wanted = cast_to(values, ARRAY(Text))
    if isinstance(found.type, JSONB):
        return found.op("?|", is_comparison=True, return_type=Boolean())(wanted)
    return found.op("&&", is_comparison=True, return_type=Boolean())(wanted)


def _sql_time(operator: Operator, found: ColumnElement[Any], spans: Sequence[Span]) -> ColumnElement[bool]:
    match operator:
        case Operator.EQ:
            return and_(found >= spans[0].start, found < spans[0].end)
        case Operator.GT:
            return found >= spans[0].end
        case Operator.GTE:
            return found >= spans[0].start
        case Operator.LT:
            return found < spans[0].start
        case Operator.LTE:
            return found < spans[0].end
    return and_(found >= spans[0].start, found < spans[1].end)


def _invalid(path: str, zh: str, en: str) -> InvalidInput:
    return InvalidInput(path, "FILTER_INVALID", zh, en)


def _shape(path: str) -> InvalidInput:
    return _invalid(
        path,
        "筛选条件应为 field、op、value，或由 all、any 组成的组",
        "A filter is field, op and value, or a group: all or any of some filters",
    )


def _too_large(path: str) -> InvalidInput:
    return InvalidInput(
        path,
        "FILTER_TOO_LARGE",
        "筛选条件过多：最多{conditions}个条件，{deepest}层",
        "The filter is too large: at most {conditions} conditions in {deepest} levels",
        conditions=MOST_CONDITIONS,
        deepest=DEEPEST,
    )


def _value(path: str, zh: str, en: str) -> InvalidInput:
    return InvalidInput(
        path,
        "FILTER_VALUE_INVALID",
        "筛选值应为{expected_zh}",
        "The value has to be {expected}",
        expected_zh=zh,
        expected=en,
    )
