"""The tenant's own fields of products and contracts."""

from enum import StrEnum

from services.chassis.errors import InvalidInput
from services.chassis.tokens import Caller
from services.kernel.field_store import FieldStore
from services.kernel.visibility import sees_every_number
from services.orders.store.tables import Contract, Field, FieldValue, Order, Quote

FIELDS = FieldStore(Field, FieldValue)


def numbers_shown(record: Order | Contract | Quote, caller: Caller) -> bool:
    """Tell whether somebody may see a number in what people typed about an order, a contract or a quote (F59)."""
    return record.owner_id == caller.person_id or sees_every_number(caller)


class FieldObject(StrEnum):
    """A kind of record that fields can be added to (F242)."""

    PRODUCT = "product"
    CONTRACT = "contract"


def parse_object(text: str, field: str) -> FieldObject:
    """Return a kind of record; raises InvalidInput FIELD_OBJECT_UNKNOWN naming the field."""
    try:
        return FieldObject(text)
    except ValueError:
        raise InvalidInput(
            field, "FIELD_OBJECT_UNKNOWN", "该对象没有自定义字段", "This kind of record has no fields"
        ) from None
