"""Times as the contracts have them."""

from datetime import datetime
from typing import overload

from google.protobuf.timestamp_pb2 import Timestamp


@overload
def timestamp(time: datetime) -> Timestamp: ...
@overload
def timestamp(time: None) -> None: ...
@overload
def timestamp(time: datetime | None) -> Timestamp | None: ...
def timestamp(time: datetime | None) -> Timestamp | None:
    """Return a time as a message has it, None for none: a field that is given None is absent."""
    if time is None:
        return None
    result = Timestamp()
    result.FromDatetime(time)
    return result
