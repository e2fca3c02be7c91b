"""HTTP and JSON to gRPC and back, for every route of the contracts.

A request is read strictly: a field that the contract does not know, a wrong type or a malformed value is refused
here, naming the field as the JSON does. What a value means is the service's business.
"""

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.clients import TIMEOUT_S, Backends, Trace
from services.gateway.errors import Fault, InvalidFields, TooLarge, json_path
from services.gateway.routes import Route
from services.gateway.sessions import Sessions, refuse_foreign_page, secret_of

# Largest JSON body in bytes.
BODY_LIMIT_BYTES = 1_048_576
# Of one that carries a file, which is a third longer in JSON.
FILE_BODY_LIMIT_BYTES = 8 * 1_048_576
# The field that every mutation has, for safe repetition.
REQUEST_ID = "request_id"

Endpoint = Callable[[Request], Awaitable[Response]]

# What a field of each type holds, for people.
EXPECTED: dict[int, tuple[str, str]] = {
    FieldDescriptor.TYPE_STRING: ("应为文本", "must be a text"),
    FieldDescriptor.TYPE_BOOL: ("应为 true 或 false", "must be true or false"),
    FieldDescriptor.TYPE_INT32: ("应为整数", "must be a whole number"),
    FieldDescriptor.TYPE_INT64: ("应为整数", "must be a whole number"),
    FieldDescriptor.TYPE_DOUBLE: ("应为数字", "must be a number"),
    FieldDescriptor.TYPE_BYTES: ("应为 base64 文本", "must be base64"),
}
# Messages with a JSON form of their own: they are read as a value.
EXPECTED_WELL_KNOWN = {
    "google.protobuf.Timestamp": (
        "应为时间，例如 2026-01-31T08:00:00Z",
        "must be a time such as 2026-01-31T08:00:00Z",
    ),
    "google.protobuf.Duration": (
        "应为以秒计的时长，例如 1800s",
        "must be a duration in seconds such as 1800s",
    ),
    "google.protobuf.FieldMask": (
        "应为字段名列表，例如 name,mobile",
        "must be names of fields such as name,mobile",
    ),
}


def endpoint(route: Route, backends: Backends, sessions: Sessions) -> Endpoint:
    """Return the handler of a route."""
    method = backends.method(route)

    async def answer(request: Request) -> Response:
        trace: Trace = request.state.trace
        secret, by_cookie = secret_of(request)
        # Who asks comes before what is asked: a stranger learns nothing about the contract's fields.
        await sessions.of(secret, trace)
        if route.has_body and by_cookie:
            refuse_foreign_page(request)
        message = await read(route, request)

        async def call(token: str) -> Message:
            response: Message = await method(message, timeout=TIMEOUT_S, metadata=trace.metadata(token))
            return response

        return json_response(await sessions.acting(secret, trace, call))

    return answer


def json_response(message: Message) -> Response:
    """Return a message as the body of a success; fields without presence are always there."""
    return Response(to_json(message), media_type="application/json", headers={"Cache-Control": "no-store"})


def to_json(message: Message) -> str:
    """Return a message's JSON."""
    return json_format.MessageToJson(
        message, always_print_fields_with_no_presence=True, ensure_ascii=False, indent=None
    )


async def read(route: Route, request: Request) -> Message:
    """Return the RPC's request; raises InvalidFields naming what cannot be read."""
    message = route.request()
    faults: list[Fault] = []
    if route.has_body:
        fill(message, await read_object(request, body_limit(message)), faults)
    else:
        fill(message, query_object(message, request.query_params, faults), faults)
    for dotted in route.path_fields:
        bind(message, dotted, request.path_params[dotted.replace(".", "__")], faults)
    if faults:
        raise InvalidFields(faults)
    if REQUEST_ID in message.DESCRIPTOR.fields_by_name and not getattr(message, REQUEST_ID):
        setattr(message, REQUEST_ID, request_id_of(request.headers.get("idempotency-key", "")))
    return message


def request_id_of(key: str) -> str:
    """Return the request id that an Idempotency-Key header gives, a fresh one when it is no UUID."""
    try:
        return str(uuid.UUID(key))
    except ValueError:
        return str(uuid.uuid4())


def body_limit(message: Message) -> int:
    """Return the longest body that a request may have in JSON, in bytes."""
    carries_file = any(field.type == field.TYPE_BYTES for field in message.DESCRIPTOR.fields)
    return FILE_BODY_LIMIT_BYTES if carries_file else BODY_LIMIT_BYTES


async def read_object(request: Request, limit: int = BODY_LIMIT_BYTES) -> dict[str, Any]:
    """Return the JSON object in the body, an empty one for no body; raises InvalidFields or TooLarge.

    limit: bytes of the body.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(limit)
    if not body:
        return {}
    try:
        value = json.loads(bytes(body), object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except RecursionError:
        raise malformed("嵌套过深", "nested too deeply") from None
    except json.JSONDecodeError as error:
        where = f"{error.lineno}:{error.colno}"
        raise malformed(f"第 {where} 处 {error.msg}", f"{error.msg} at {where}") from None
    except ValueError as error:
        raise malformed(str(error), str(error)) from None
    if not isinstance(value, dict):
        raise malformed("应为对象", "must be an object")
    return value


def malformed(zh: str, en: str) -> InvalidFields:
    """Return the refusal of a body that is no JSON object."""
    return InvalidFields([Fault("", f"请求不是有效的 JSON：{zh}", f"the body is not valid JSON: {en}")])


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose names occur once; raises ValueError otherwise: which one is meant is unknown."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("duplicate name")
    return value


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which are not JSON."""
    raise ValueError(name)


def fields_of(message: Message) -> dict[str, FieldDescriptor]:
    """Return a message's fields by their names in JSON."""
    return {field.json_name: cast(FieldDescriptor, field) for field in message.DESCRIPTOR.fields}


def query_object(message: Message, query: QueryParams, faults: list[Fault]) -> dict[str, Any]:
    """Return the query as the JSON object it stands for."""
    fields = fields_of(message)
    value: dict[str, Any] = {}
    for name in query:
        field, texts = fields.get(name), query.getlist(name)
        if field is not None and field.type == FieldDescriptor.TYPE_BOOL:
            # Anything else stays a text, and is refused as one.
            value[name] = {"true": True, "false": False}.get(texts[0], texts[0])
        elif field is not None and field.is_repeated:
            value[name] = texts
        else:
            value[name] = texts[0]
        if len(texts) > 1 and not (field and field.is_repeated):
            faults.append(Fault(name, "只能出现一次", "may be given once only"))
    return value


def fill(message: Message, value: Mapping[str, Any], faults: list[Fault], path: str = "") -> None:
    """Set the message's fields from a JSON object; add what is wrong to `faults`, with paths below `path`."""
    fields = fields_of(message)
    for name, item in value.items():
        where = path + name
        field = fields.get(name)
        if field is None:
            faults.append(Fault(where, "没有这个字段", "is not a known field"))
        elif item is None:
            # As absent. (protobuf.dev/programming-guides/json)
            continue
        elif not field.is_repeated:
            fill_field(message, field, item, faults, where)
        elif not isinstance(item, list):
            faults.append(Fault(where, "应为列表", "must be a list"))
        else:
            for index, element in enumerate(item):
                fill_field(message, field, element, faults, f"{where}[{index}]")


def fill_field(message: Message, field: FieldDescriptor, value: Any, faults: list[Fault], where: str) -> None:
    """Set a field, or add an element to it, from a JSON value."""
    if field.message_type and field.message_type.full_name not in EXPECTED_WELL_KNOWN:
        if not isinstance(value, dict):
            faults.append(Fault(where, "应为对象", "must be an object"))
            return
        held = getattr(message, field.name)
        part = held.add() if field.is_repeated else held
        part.SetInParent()
        fill(part, value, faults, f"{where}.")
        return
    fault = fault_of(field, value, where)
    if not fault:
        one = type(message)()
        try:
            json_format.ParseDict({field.json_name: [value] if field.is_repeated else value}, one)
        except (json_format.ParseError, ValueError, OverflowError):
            fault = Fault(where, *expected(field))
        else:
            # Merging appends to a list, and sets all else.
            message.MergeFrom(one)
    if fault:
        faults.append(fault)


def fault_of(field: FieldDescriptor, value: Any, where: str) -> Fault | None:
    """Return what json_format would let pass though the contract does not know it, or no store can hold it."""
    if field.enum_type and not (isinstance(value, str) and value in field.enum_type.values_by_name):
        return Fault(where, *expected(field))
    if isinstance(value, str) and "\0" in value:
        return Fault(where, "不能含有空字符 (NUL)", "must not contain NUL")
    return None


def expected(field: FieldDescriptor) -> tuple[str, str]:
    """Return what a field holds, in both languages."""
    if field.enum_type:
        names = ", ".join(field.enum_type.values_by_name)
        return f"应为其中之一：{names}", f"must be one of {names}"
    if field.message_type:
        return EXPECTED_WELL_KNOWN[field.message_type.full_name]
    return EXPECTED[field.type]


def bind(message: Message, dotted: str, text: str, faults: list[Fault]) -> None:
    """Set the field that the path names; a body that says otherwise is refused."""
    *parents, name = dotted.split(".")
    for parent in parents:
        message = getattr(message, parent)
    fault = fault_of(fields_of(message)[json_path(name)], text, json_path(dotted))
    if fault:
        faults.append(fault)
    elif getattr(message, name) not in {"", text}:
        faults.append(Fault(json_path(dotted), "与地址中的不一致", "differs from the one in the path"))
    else:
        setattr(message, name, text)
