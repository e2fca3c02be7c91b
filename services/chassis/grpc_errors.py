"""AppError over gRPC and back: google.rpc.Status with ErrorInfo, LocalizedMessage, BadRequest and RetryInfo."""

from typing import cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.chassis.errors import (
    BY_CODE,
    INTERNAL_EN,
    INTERNAL_ZH,
    AppError,
    Internal,
    InvalidInput,
    OutcomeUnknown,
    Quota,
    Unavailable,
)

DOMAIN = "gonghai"


def to_status(error: AppError, locale: str) -> grpc.Status:
    """Return what the server answers; both languages go along, the message is in the caller's."""
    details = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata),
        error_details_pb2.LocalizedMessage(locale="zh-CN", message=error.zh),
        error_details_pb2.LocalizedMessage(locale="en", message=error.en),
    ]
    packed = [_pack(detail) for detail in details]
    if isinstance(error, InvalidInput):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message(locale), reason=error.reason
        )
        packed.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, Quota):
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=error.retry_after_s))))
    code: int = grpc.StatusCode[error.code].value[0]
    return rpc_status.to_status(status_pb2.Status(code=code, message=error.message(locale), details=packed))


def _pack(message: object) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)  # type: ignore[arg-type]  # every google.rpc detail is a message
    return packed


def from_rpc_error(error: grpc.RpcError) -> AppError:
    """Return the AppError behind a failed call.

    Without details of ours: UNAVAILABLE and CANCELLED, which a server that stops says of its last calls, become
    Unavailable, DEADLINE_EXCEEDED OutcomeUnknown, the rest Internal.
    """
    # Every error of a call is a grpc.Call too; its types do not say so.
    call = cast(grpc.Call, error)
    status = rpc_status.from_call(call)
    if status is not None:
        found = _from_details(grpc_code_name(status.code), status)
        if found is not None:
            return found
    code = call.code()
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
        return Unavailable(
            "SERVICE_UNAVAILABLE", "服务暂不可用，请稍后重试", "The service is unavailable; try later"
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return OutcomeUnknown("DEADLINE_EXCEEDED", "服务超时，结果未知", "The service did not answer in time")
    return Internal("INTERNAL", INTERNAL_ZH, INTERNAL_EN)


def grpc_code_name(number: int) -> str:
    """Return a status code's name by its number."""
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")


def _from_details(code: str, status: status_pb2.Status) -> AppError | None:
    info = error_details_pb2.ErrorInfo()
    texts: dict[str, str] = {}
    for detail in status.details:
        message = error_details_pb2.LocalizedMessage()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(message.DESCRIPTOR):
            detail.Unpack(message)
            texts[message.locale] = message.message
    if not info.reason:
        return None
    # The texts are finished: braces in them are not templates any more.
    zh, en = (
        texts.get(locale, status.message).replace("{", "{{").replace("}", "}}") for locale in ("zh-CN", "en")
    )
    metadata: dict[str, str | int] = dict(info.metadata)
    if code == InvalidInput.code:
        return InvalidInput(str(metadata.pop("field", "")), info.reason, zh, en, **metadata)
    return BY_CODE.get(code, Internal)(info.reason, zh, en, **metadata)
