"""Record ids: UUIDs, sortable by time when new, derived when a repeat must find the same one."""

import os
import time
import uuid

from services.chassis.errors import invalid_uuid


def new_id() -> str:
    """Return a fresh UUIDv7 (RFC 9562): the first 48 bits are milliseconds, so new rows lie together."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def derive_id(*parts: str) -> str:
    """Return the id that these parts always give, for a step that may be repeated (UUIDv5)."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\x1f".join(parts)))


def parse_id(value: str, field: str) -> str:
    """Return `value` in canonical form; raises InvalidInput NOT_A_UUID naming the field."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise invalid_uuid(field) from None
