"""Errors as the HTTP API answers them: one shape for what a service refuses and for what the gateway does.

{"error": {"code", "reason", "message", "metadata", "fields": [{"field", "message"}]}}
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from starlette.responses import JSONResponse

from services.chassis.errors import AppError, InvalidInput, Quota, Unauthenticated
from services.chassis.grpc_errors import from_rpc_error, grpc_code_name

# HTTP status of a gRPC status code, as google/rpc/code.proto gives it; but UNKNOWN means here only that a service
# did not answer in time.
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "UNKNOWN": 504,
}
# When a part is down: seconds until another try makes sense.
RETRY_AFTER_S = 1


@dataclass(frozen=True)
class Fault:
    """What is wrong with one field: its path in JSON, for example "contacts[0].name", and why in both languages."""

    field: str
    zh: str
    en: str


class InvalidFields(AppError):
    """The request cannot be read; every field that is wrong is named."""

    code = "INVALID_ARGUMENT"

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        where = f"{first.field}: " if first.field else ""
        super().__init__("INVALID_FIELDS", "", "")
        self.zh, self.en = f"{where}{first.zh}", f"{where}{first.en}"
        self.faults = tuple(faults)


class TooLarge(AppError):
    """The body is larger than the gateway reads."""

    code = "INVALID_ARGUMENT"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            "BODY_TOO_LARGE",
            "请求内容超过 {limit_bytes} 字节",
            "The body is larger than {limit_bytes} bytes",
            limit_bytes=limit_bytes,
        )


def signed_out() -> Unauthenticated:
    """Return the refusal of a call without a session."""
    return Unauthenticated("NOT_SIGNED_IN", "请先登录", "Sign in first")


@dataclass(frozen=True)
class Refusal:
    """An error on its way out; `fields` are pairs of path and text, `retry_after_s` is 0 for "not by itself"."""

    code: str
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[tuple[str, str]] = ()
    retry_after_s: int = 0
    # Where the protocol has a status of its own for this; 0: the code's.
    status: int = 0

    def response(self) -> JSONResponse:
        """Return the HTTP response."""
        error = {
            "code": self.code,
            "reason": self.reason,
            "message": self.message,
            "metadata": dict(self.metadata),
            "fields": [{"field": path, "message": text} for path, text in self.fields],
        }
        headers = {"Cache-Control": "no-store"}
        if self.retry_after_s:
            headers["Retry-After"] = str(self.retry_after_s)
        return JSONResponse({"error": error}, self.status or HTTP_STATUS.get(self.code, 500), headers)


def from_app(error: AppError, locale: str) -> Refusal:
    """Return the refusal of an error that was raised here."""
    text = error.message(locale)
    fields: list[tuple[str, str]] = []
    if isinstance(error, InvalidFields):
        english = locale.startswith("en")
        fields = [(fault.field, fault.en if english else fault.zh) for fault in error.faults]
    elif isinstance(error, InvalidInput):
        fields = [(json_path(error.field), text)]
    retry_after_s = RETRY_AFTER_S if error.code == "UNAVAILABLE" else 0
    if isinstance(error, Quota):
        retry_after_s = error.retry_after_s
    status = 413 if isinstance(error, TooLarge) else 0
    return Refusal(error.code, error.reason, text, error.metadata, fields, retry_after_s, status)


def from_rpc(error: grpc.aio.AioRpcError, locale: str) -> Refusal:
    """Return the refusal that a service answered, or the one that fits when none answered."""
    # It asks only for what errors of both kinds of channel have.
    status = rpc_status.from_call(cast(grpc.Call, error))
    info = error_details_pb2.ErrorInfo()
    wrong = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        for known in (info, wrong, retry):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    if status is None or not info.reason:
        return from_app(from_rpc_error(error), locale)
    code = grpc_code_name(status.code)
    fields = [(json_path(item.field), item.description) for item in wrong.field_violations]
    retry_after_s = retry.retry_delay.seconds or (RETRY_AFTER_S if code == "UNAVAILABLE" else 0)
    return Refusal(code, info.reason, status.message, dict(info.metadata), fields, retry_after_s)


def json_path(path: str) -> str:
    """Return a field's path as the JSON names it: person.person_id becomes person.personId."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), path)
