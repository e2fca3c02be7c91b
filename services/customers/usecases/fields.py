"""The tenant's own fields: their definitions, and values that are unique or searched for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, InvalidInput, not_found
from services.customers.store.record_tables import Field, FieldValue
from services.kernel.fields import (
    MOST_FIELDS,
    FieldDefinition,
    FieldType,
    Stored,
    check_definition,
    value_taken,
)


class FieldObject(StrEnum):
    """A kind of record that fields can be added to (F242)."""

    CUSTOMER = "customer"
    PRODUCT = "product"
    CONTRACT = "contract"
    LEAD = "lead"


def parse_object(text: str) -> FieldObject:
    """Return a kind of record; raises InvalidInput FIELD_OBJECT_UNKNOWN naming object."""
    try:
        return FieldObject(text or FieldObject.CUSTOMER)
    except ValueError:
        raise InvalidInput(
            "object", "FIELD_OBJECT_UNKNOWN", "该对象没有自定义字段", "This kind of record has no fields"
        ) from None


def list_fields(tx: Transaction, kind: FieldObject, *, removed: bool = False) -> Sequence[Field]:
    """Return the fields in their order (F244)."""
    query = select(Field).where(Field.tenant_id == tx.tenant.id, Field.object == kind)
    if not removed:
        query = query.where(Field.active)
    return tx.session.scalars(query.order_by(Field.position, Field.key)).all()


def definitions(tx: Transaction, kind: FieldObject = FieldObject.CUSTOMER) -> list[FieldDefinition]:
    """Return the fields that hold, looked up once for a transaction."""
    known: dict[str, list[FieldDefinition]] = tx.session.info.setdefault("fields", {})
    if kind not in known:
        known[kind] = [definition_of(row) for row in list_fields(tx, kind)]
    return known[kind]


def definition_of(row: Field) -> FieldDefinition:
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


def create_field(tx: Transaction, kind: FieldObject, definition: FieldDefinition) -> Field:
    """Add a field behind the others (F4, F241).

    Raises InvalidInput below `field` as `check_definition` and TOO_MANY, AlreadyExists FIELD_KEY_TAKEN: a key stands
    for one field for ever, even when that was removed.
    """
    checked = check_definition(definition, "field")
    rows = list_fields(tx, kind, removed=True)
    if len(rows) >= MOST_FIELDS:
        raise InvalidInput(
            "field", "TOO_MANY", "最多{most}个自定义字段", "At most {most} fields", most=MOST_FIELDS
        )
    row = Field(
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
    values = {column.name: getattr(row, column.name) for column in Field.__table__.columns}
    added = tx.session.scalar(insert(Field).values(values).on_conflict_do_nothing().returning(Field.key))
    if added is None:
        raise AlreadyExists(
            "FIELD_KEY_TAKEN",
            "字段标识 {key} 已被使用",
            "The key {key} is used already",
            field="field.key",
            key=checked.key,
        )
    return _get(tx, kind, checked.key)


def update_field(
    tx: Transaction, kind: FieldObject, key: str, definition: FieldDefinition, *, active: bool
) -> Field:
    """Change what may be changed of a field; raises NotFound FIELD_NOT_FOUND, and as `check_definition`.

    Values that stand are not touched: a shorter length or a choice that is gone holds from the next edit on.
    """
    row = _get(tx, kind, key)
    wanted = {**asdict(definition), "key": row.key, "type": FieldType(row.type), "unique": row.is_unique}
    checked = check_definition(FieldDefinition(**wanted), "field")
    for name, value in _changeable(checked).items():
        setattr(row, name, value)
    row.active = active
    row.version += 1
    return row


def order_fields(tx: Transaction, kind: FieldObject, keys: Sequence[str]) -> Sequence[Field]:
    """Put fields first in this order, the others behind them as they were; raises NotFound FIELD_NOT_FOUND (F244)."""
    rows = {row.key: row for row in list_fields(tx, kind, removed=True)}
    for key in keys:
        if key not in rows:
            raise not_found("field", "字段", key)
    for position, key in enumerate([*dict.fromkeys(keys), *(key for key in rows if key not in keys)], 1):
        rows[key].position = position
    return list_fields(tx, kind)


def hold_values(
    tx: Transaction,
    kind: FieldObject,
    record_id: str,
    values: Mapping[str, Stored],
    before: Mapping[str, Stored] | None = None,
) -> None:
    """Keep a record's unique and searchable values where they are found; of two that want the same one, one gets it.

    A twin that is being written is waited for. Raises AlreadyExists FIELD_VALUE_TAKEN naming `values.key`.
    """
    before = before or {}
    changed = [
        definition
        for definition in definitions(tx, kind)
        if (definition.unique or definition.searchable)
        and values.get(definition.key) != before.get(definition.key)
    ]
    if not changed:
        return
    tx.session.execute(
        delete(FieldValue).where(
            FieldValue.tenant_id == tx.tenant.id,
            FieldValue.object == kind,
            FieldValue.record_id == record_id,
            FieldValue.key.in_([definition.key for definition in changed]),
        )
    )
    # In the order of the keys, so that two records never wait for each other.
    for definition in sorted(changed, key=lambda item: item.key):
        value = values.get(definition.key)
        if value is None:
            continue
        added = tx.session.scalar(
            insert(FieldValue)
            .values(
                tenant_id=tx.tenant.id,
                object=kind,
                key=definition.key,
                record_id=record_id,
                value=str(value),
                held=definition.unique,
            )
            .on_conflict_do_nothing()
            .returning(FieldValue.record_id)
        )
        if added is None:
            raise value_taken(definition, f"values.{definition.key}")


def hold_new_values(tx: Transaction, kind: FieldObject, records: Mapping[str, Mapping[str, Stored]]) -> None:
    """Do as `hold_values` for records, by id, that hold none yet; few statements for many.

    Which record's value is taken is not told: it may be that of another one among them.
    """
    held = {item.key: item for item in definitions(tx, kind) if item.unique or item.searchable}
    rows = [
        {
            "tenant_id": tx.tenant.id,
            "object": kind,
            "key": key,
            "record_id": record_id,
            "value": str(values[key]),
            "held": held[key].unique,
        }
        for record_id, values in records.items()
        for key in held.keys() & values.keys()
    ]
    if not rows:
        return
    # In one order for everybody, so that two batches never wait for each other.
    rows.sort(key=lambda row: (row["key"], row["value"], row["record_id"]))
    added = insert_rows(FieldValue, rows).on_conflict_do_nothing()
    found = tx.session.execute(added.returning(FieldValue.key, FieldValue.record_id))
    free = {(key, record_id) for key, record_id in found}
    for row in rows:
        if (row["key"], row["record_id"]) not in free:
            raise value_taken(held[str(row["key"])], f"values.{row['key']}")


def _get(tx: Transaction, kind: FieldObject, key: str) -> Field:
    row = tx.session.get(Field, (tx.tenant.id, kind, key), with_for_update=True)
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
