"""Lists of records that have fields of the tenant's own: filtered and sorted by those as by built-in ones.

The tenant's own fields are asked for as custom.key. Pages follow the key of the last row that was seen, so rows that
come or go meanwhile change nothing of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, func, tuple_, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute

from services.chassis.errors import InvalidInput
from services.chassis.paging import decode_key, encode_key
from services.kernel.fields import FieldDefinition, FieldType
from services.kernel.filters import FIELD_KINDS, Column, Context, Filter, Kind, custom_column

# Types that a list can be sorted by, with what an empty value counts as: the least there is.
LEAST: Mapping[FieldType, Decimal | date] = {
    FieldType.NUMBER: Decimal("-1e18"),
    FieldType.AMOUNT: Decimal("-1e18"),
    FieldType.DATE: date(1, 1, 1),
    FieldType.DATETIME: datetime(1, 1, 1, tzinfo=UTC),
}


@dataclass(frozen=True)
class Sorting:
    """How a list is sorted: by an expression that is never empty, then by id.

    name: as it was asked for. type: of the expression's values, as `decode_key` knows them.
    """

    name: str
    expression: ColumnElement[Any] | InstrumentedAttribute[Any]
    id: InstrumentedAttribute[str]
    type: type
    descending: bool

    @property
    def clauses(self) -> list[ColumnElement[Any]]:
        """What ORDER BY says."""
        parts: list[Any] = [self.expression, self.id]
        return [part.desc() if self.descending else part.asc() for part in parts]

    def after(self, token: str) -> ColumnElement[bool] | None:
        """Return the condition for the page behind a token; raises InvalidInput PAGE_TOKEN_INVALID."""
        key = decode_key(token, self.name, self.type)
        if key is None:
            return None
        row = tuple_(self.expression, self.id)
        return row < key if self.descending else row > key

    def token(self, value: Any, record_id: str) -> str:
        """Return the token for the page behind a row."""
        return encode_key(self.name, value, record_id)


@dataclass(frozen=True)
class RecordList:
    """What a list of one kind of record may be asked. built_in: kind and column by name. document: of custom values.

    sorted_by: expression that is never empty, and its type, by name; it goes into page tokens, so it holds no number of
    somebody's. first: the order when nobody asks for one. made: texts that nobody types, such as papers' numbers.
    """

    id: InstrumentedAttribute[str]
    document: ColumnElement[Any] | InstrumentedAttribute[Any]
    built_in: Mapping[str, tuple[Kind, Any]]
    sorted_by: Mapping[str, tuple[Any, type]]
    first: str
    made: frozenset[str] = frozenset()

    def condition(
        self,
        text: str,
        fields: Sequence[FieldDefinition],
        context: Context,
        *,
        numbers_shown: bool,
        shown: ColumnElement[bool] | None = None,
    ) -> ColumnElement[bool]:
        """Return the condition that a filter means; raises InvalidInput below `filter`.

        numbers_shown: whether the caller sees every number; who does not finds out none by asking for it. shown: the
        records in whose texts the caller may read numbers; None for all.
        """
        asked = [field for field in fields if numbers_shown or field.type != FieldType.PHONE]
        document = type_coerce(self.document, JSONB)
        kinds = {name: kind for name, (kind, _) in self.built_in.items()} | {
            f"custom.{field.key}": FIELD_KINDS[field.type] for field in asked
        }
        columns = {
            name: Column(column, shown=None if name in self.made else shown)
            for name, (_, column) in self.built_in.items()
        } | {f"custom.{field.key}": custom_column(document, field, shown) for field in asked}
        return Filter.parse(text, kinds).to_sql(columns, context)

    def sorting(self, text: str, fields: Sequence[FieldDefinition]) -> Sorting:
        """Return the order that is asked for, descending with - before it; raises InvalidInput ORDER_UNKNOWN."""
        label = text or self.first
        name, descending = label.removeprefix("-"), label.startswith("-")
        if name in self.sorted_by:
            expression, kind = self.sorted_by[name]
            return Sorting(label, expression, self.id, kind, descending)
        for field in fields:
            if name == f"custom.{field.key}" and field.type in LEAST:
                least = LEAST[field.type]
                found = custom_column(type_coerce(self.document, JSONB), field).expression
                return Sorting(label, func.coalesce(found, least), self.id, type(least), descending)
        raise InvalidInput(
            "order_by", "ORDER_UNKNOWN", "不能按 {name} 排序", "There is no order by {name}", name=name[:50]
        )
