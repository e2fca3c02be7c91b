"""The tenant's own fields of customers: their definitions, and values that are unique or searched for."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.customers.store.record_tables import Field, FieldValue
from services.kernel.field_store import FieldStore
from services.kernel.fields import FieldDefinition, Stored, value_taken

FIELDS = FieldStore(Field, FieldValue)


class FieldObject(StrEnum):
    """A kind of record that fields can be added to here (F242); products, contracts and leads have theirs at home."""

    CUSTOMER = "customer"


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
    return FIELDS.rows(tx, kind, removed=removed)


def definitions(tx: Transaction, kind: FieldObject = FieldObject.CUSTOMER) -> list[FieldDefinition]:
    """Return the fields that hold, looked up once for a transaction."""
    return FIELDS.definitions(tx, kind)


def create_field(tx: Transaction, kind: FieldObject, definition: FieldDefinition) -> Field:
    """Add a field behind the others (F4, F241); raises as `FieldStore.create`."""
    return FIELDS.create(tx, kind, definition)


def update_field(
    tx: Transaction, kind: FieldObject, key: str, definition: FieldDefinition, *, active: bool
) -> Field:
    """Change what may be changed of a field; raises as `FieldStore.update`."""
    return FIELDS.update(tx, kind, key, definition, active=active)


def order_fields(tx: Transaction, kind: FieldObject, keys: Sequence[str]) -> Sequence[Field]:
    """Put fields first in this order, the others behind them; raises NotFound FIELD_NOT_FOUND (F244)."""
    return FIELDS.order(tx, kind, keys)


def hold_values(
    tx: Transaction,
    kind: FieldObject,
    record_id: str,
    values: Mapping[str, Stored],
    before: Mapping[str, Stored] | None = None,
) -> None:
    """Keep a record's unique and searchable values where they are found; raises AlreadyExists FIELD_VALUE_TAKEN."""
    FIELDS.hold(tx, kind, record_id, values, before)


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
