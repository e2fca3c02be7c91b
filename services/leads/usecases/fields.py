"""The tenant's own fields of leads."""

from enum import StrEnum

from services.chassis.errors import InvalidInput
from services.kernel.field_store import FieldStore
from services.leads.store.tables import Field, FieldValue

FIELDS = FieldStore(Field, FieldValue)


class FieldObject(StrEnum):
    """A kind of record that fields can be added to."""

    LEAD = "lead"


def parse_object(text: str, field: str) -> FieldObject:
    """Return a kind of record; raises InvalidInput FIELD_OBJECT_UNKNOWN naming the field."""
    try:
        return FieldObject(text or FieldObject.LEAD)
    except ValueError:
        raise InvalidInput(
            field, "FIELD_OBJECT_UNKNOWN", "该对象没有自定义字段", "This kind of record has no fields"
        ) from None
