"""The tenant's own fields in a service's schema: their definitions, and values that are unique or searched for.

A service brings two tables of its own, made of the columns here, and a `FieldStore` over them. A record keeps its
values itself, as JSON; what is unique or searchable stands in the second table as well, in the same transaction.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, Protocol, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Index,
    Integer,
    Select,
    Text,
    Uuid,
    delete,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, declared_attr, mapped_column

from services.chassis.errors import AlreadyExists, InvalidInput, not_found
from services.chassis.tenancy import Tenant
from services.kernel.fields import (
    DEFAULT_LENGTH,
    MOST_FIELDS,
    FieldDefinition,
    FieldType,
    Stored,
    check_definition,
    value_taken,
)


class Work(Protocol):
    """A use case at work, as far as fields go: its session, and for whom."""

    tenant: Tenant

    @property
    def session(self) -> Session:
        """Its session."""


class FieldColumns:
    """A field of the tenant's own. What it may never change: object, key, type, whether it is unique.

    object: the kind of record. active: a removed field keeps its key and what was stored under it, and may come back.
    """

    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    object: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    required: Mapped[bool] = mapped_column(Boolean)
    is_unique: Mapped[bool] = mapped_column(Boolean)
    searchable: Mapped[bool] = mapped_column(Boolean)
    listed: Mapped[bool] = mapped_column(Boolean)
    max_length: Mapped[int] = mapped_column(Integer)
    choices: Mapped[list[str]] = mapped_column(ARRAY(Text))
    position: Mapped[int] = mapped_column(Integer)
    active: Mapped[bool] = mapped_column(Boolean)
    version: Mapped[int] = mapped_column(BigInteger)


class FieldValueColumns:
    """A value of a unique or searchable field, and whose it is. held: no other record may have it."""

    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    object: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    record_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    held: Mapped[bool] = mapped_column(Boolean)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Index, ...]:  # noqa: N805 - SQLAlchemy calls it with the class
        return (
            Index(
                "ix_field_value_held",
                "tenant_id",
                "object",
                "key",
                "value",
                unique=True,
                postgresql_where=sql("held"),
            ),
            Index("ix_field_value_found", "tenant_id", "object", "value"),
        )


Row = TypeVar("Row", bound=FieldColumns)
Value = TypeVar("Value", bound=FieldValueColumns)


class FieldForm(Protocol):
    """A field as each contract has it."""

    key: str
    name: str
    type: str
    required: bool
    unique: bool
    searchable: bool
    listed: bool
    max_length: int

    @property
    def choices(self) -> Sequence[str]: ...


def definition_of_form(form: FieldForm, path: str = "field") -> FieldDefinition:
    """Return the field of a form; raises InvalidInput FIELD_TYPE_UNKNOWN. What else may be wrong is looked at later."""
    try:
        kind = FieldType(form.type or FieldType.TEXT)
    except ValueError:
        raise InvalidInput(
            f"{path}.type", "FIELD_TYPE_UNKNOWN", "没有这样的字段类型", "There is no such type of field"
        ) from None
    return FieldDefinition(
        form.key,
        form.name,
        kind,
        required=form.required,
        unique=form.unique,
        searchable=form.searchable,
        listed=form.listed,
        max_length=form.max_length or DEFAULT_LENGTH,
        choices=tuple(form.choices),
    )


def definition_of(row: FieldColumns) -> FieldDefinition:
    """Return a stored field as the kernel knows it."""
    return FieldDefinition(
        row.key,
        row.name,
        FieldType(row.type),
        required=row.required,
        unique=row.is_unique,
        searchable=row.searchable,
        listed=row.listed,
        max_length=row.max_length,
        choices=tuple(row.choices),
    )


@dataclass(frozen=True)
class FieldStore(Generic[Row, Value]):
    """The fields of a service. field, value: its tables."""

    field: type[Row]
    value: type[Value]

    def rows(self, tx: Work, kind: str, *, removed: bool = False) -> Sequence[Row]:
        """Return the fields of a kind of record in their order (F244)."""
        query = select(self.field).where(self.field.tenant_id == tx.tenant.id, self.field.object == kind)
        if not removed:
            query = query.where(self.field.active)
        return tx.session.scalars(query.order_by(self.field.position, self.field.key)).all()

    def definitions(self, tx: Work, kind: str) -> list[FieldDefinition]:
        """Return the fields that hold, looked up once for a transaction."""
        known: dict[str, list[FieldDefinition]] = tx.session.info.setdefault("fields", {})
        if kind not in known:
            known[kind] = [definition_of(row) for row in self.rows(tx, kind)]
        return known[kind]

    def create(self, tx: Work, kind: str, definition: FieldDefinition) -> Row:
        """Add a field behind the others (F4, F241).

        Raises InvalidInput below `field` as `check_definition` and TOO_MANY, AlreadyExists FIELD_KEY_TAKEN: a key
        stands for one field for ever, even when that was removed.
        """
        checked = check_definition(definition, "field")
        rows = self.rows(tx, kind, removed=True)
        if len(rows) >= MOST_FIELDS:
            raise InvalidInput(
                "field", "TOO_MANY", "最多{most}个自定义字段", "At most {most} fields", most=MOST_FIELDS
            )
        added = tx.session.scalar(
            insert(self.field)
            .values(
                tenant_id=tx.tenant.id,
                object=kind,
                key=checked.key,
                type=checked.type,
                is_unique=checked.unique,
                position=max((row.position for row in rows), default=0) + 1,
                active=True,
                version=1,
                **_changeable(checked),
            )
            .on_conflict_do_nothing()
            .returning(self.field.key)
        )
        if added is None:
            raise AlreadyExists(
                "FIELD_KEY_TAKEN",
                "字段标识 {key} 已被使用",
                "The key {key} is used already",
                field="field.key",
                key=checked.key,
            )
        return self._get(tx, kind, checked.key)

    def update(self, tx: Work, kind: str, key: str, definition: FieldDefinition, *, active: bool) -> Row:
        """Change what may be changed of a field; raises NotFound FIELD_NOT_FOUND, and as `check_definition`.

        Values that stand are not touched: a shorter length or a choice that is gone holds from the next edit on.
        """
        row = self._get(tx, kind, key)
        wanted = {**asdict(definition), "key": row.key, "type": FieldType(row.type), "unique": row.is_unique}
        checked = check_definition(FieldDefinition(**wanted), "field")
        for name, value in _changeable(checked).items():
            setattr(row, name, value)
        row.active = active
        row.version += 1
        return row

    def order(self, tx: Work, kind: str, keys: Sequence[str]) -> Sequence[Row]:
        """Put fields first in this order, the others behind as they were; raises NotFound FIELD_NOT_FOUND (F244)."""
        rows = {row.key: row for row in self.rows(tx, kind, removed=True)}
        for key in keys:
            if key not in rows:
                raise not_found("field", "字段", key)
        for position, key in enumerate([*dict.fromkeys(keys), *(key for key in rows if key not in keys)], 1):
            rows[key].position = position
        return self.rows(tx, kind)

    def hold(
        self,
        tx: Work,
        kind: str,
        record_id: str,
        values: Mapping[str, Stored],
        before: Mapping[str, Stored] | None = None,
        path: str = "values",
    ) -> None:
        """Keep a record's unique and searchable values where they are found; of two that want one, one gets it.

        A twin that is being written is waited for. Raises AlreadyExists FIELD_VALUE_TAKEN naming `path.key`.
        """
        before = before or {}
        changed = [
            definition
            for definition in self.definitions(tx, kind)
            if (definition.unique or definition.searchable)
            and values.get(definition.key) != before.get(definition.key)
        ]
        if not changed:
            return
        tx.session.execute(
            delete(self.value).where(
                self.value.tenant_id == tx.tenant.id,
                self.value.object == kind,
                self.value.record_id == record_id,
                self.value.key.in_([definition.key for definition in changed]),
            )
        )
        # In the order of the keys, so that two records never wait for each other.
        for definition in sorted(changed, key=lambda item: item.key):
            value = values.get(definition.key)
            if value is None:
                continue
            added = tx.session.scalar(
                insert(self.value)
                .values(
                    tenant_id=tx.tenant.id,
                    object=kind,
                    key=definition.key,
                    record_id=record_id,
                    value=str(value),
                    held=definition.unique,
                )
                .on_conflict_do_nothing()
                .returning(self.value.record_id)
            )
            if added is None:
                raise value_taken(definition, f"{path}.{definition.key}")

    def found(self, tx: Work, kind: str, values: Collection[str], *, numbers_shown: bool) -> Select[str]:
        """Return the query for the ids of records with one of these values in a searchable field.

        numbers_shown: whether the asker sees every number; who does not finds out none by asking for it.
        """
        keys = [
            definition.key
            for definition in self.definitions(tx, kind)
            if definition.searchable and (numbers_shown or definition.type != FieldType.PHONE)
        ]
        wanted: list[ColumnElement[bool]] = [
            self.value.tenant_id == tx.tenant.id,
            self.value.object == kind,
            self.value.key.in_(keys),
            self.value.value.in_(values),
        ]
        return select(self.value.record_id).where(*wanted)

    def _get(self, tx: Work, kind: str, key: str) -> Row:
        row = tx.session.get(self.field, (tx.tenant.id, kind, key), with_for_update=True)
        if row is None:
            raise not_found("field", "字段", key)
        return row


def _changeable(definition: FieldDefinition) -> dict[str, object]:
    return {
        "name": definition.name,
        "required": definition.required,
        "searchable": definition.searchable,
        "listed": definition.listed,
        "max_length": definition.max_length,
        "choices": list(definition.choices),
    }
