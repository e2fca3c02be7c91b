"""Write openapi.json from the contracts and their comments; `--check` fails when the committed file differs.

    python -m services.gateway.openapi [--check]

The comments are read by protoc, a tool of the workshop; a running gateway only serves the committed file.
A message's fields without presence are always in an answer, so they are required there and optional in a
request; a message that occurs in both has a second schema, `<name>.Input`, for requests.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crm.customers.v1 import customers_pb2, imports_pb2
from crm.identity.v1 import identity_pb2
from crm.notify.v1 import notify_pb2
from crm.options.v1 import options_pb2
from crm.telephony.v1 import telephony_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from services.gateway.files import MEDIA_TYPES
from services.gateway.routes import Route, path_field, routes

COMMITTED = Path(__file__).with_name("openapi.json")
PROTO = Path(__file__).resolve().parents[2] / "proto"

Schema = dict[str, Any]

# Messages with a JSON form of their own. (protobuf.dev/programming-guides/json)
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$", "example": "1800s"},
    "google.protobuf.FieldMask": {
        "type": "string",
        "pattern": r"^([a-z][A-Za-z0-9]*([.,][a-z][A-Za-z0-9]*)*)?$",
        "example": "name,departmentId",
    },
}
SCALARS: dict[int, Schema] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "format": "int32", "minimum": 0},
    # As many digits as fit whatever they are.
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,18}$"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "int64", "pattern": "^[0-9]{1,19}$"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
}

ERROR: Schema = {
    "type": "object",
    "description": "What every answer other than a success holds.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "reason", "message", "metadata", "fields"],
            "properties": {
                "code": {"type": "string", "description": "Name of the gRPC status, for example NOT_FOUND."},
                "reason": {"type": "string", "description": "Stable reason for programs, UPPER_SNAKE."},
                "message": {"type": "string", "description": "Text for people, in the language they accept."},
                "metadata": {
                    "type": "object",
                    "description": "The values in the text.",
                    "additionalProperties": {"type": "string"},
                },
                "fields": {
                    "type": "array",
                    "description": "Which fields of the request are wrong.",
                    "items": {
                        "type": "object",
                        "required": ["field", "message"],
                        "properties": {
                            "field": {"type": "string", "description": "Path, for example contacts[0].name."},
                            "message": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}


def comments() -> dict[str, str]:
    """Return the comment above every declaration of the contracts, by its full name."""
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / "crm").rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as file:
        output = ["--include_source_info", f"--descriptor_set_out={file.name}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", *output, *sources]
        subprocess.run(command, check=True, cwd=PROTO)
        files = FileDescriptorSet.FromString(Path(file.name).read_bytes())
    return {name: text for file_proto in files.file for name, text in _comments_of(file_proto)}


def _comments_of(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    names: dict[tuple[int, ...], str] = {}

    def enum(path: tuple[int, ...], scope: str, declared: EnumDescriptorProto) -> None:
        names[path] = f"{scope}.{declared.name}"
        # A value's full name leaves out its enum; the enum's own name keeps them apart here.
        names.update({(*path, 2, i): f"{names[path]}.{value.name}" for i, value in enumerate(declared.value)})

    def message(path: tuple[int, ...], scope: str, declared: DescriptorProto) -> None:
        names[path] = f"{scope}.{declared.name}"
        names.update({(*path, 2, i): f"{names[path]}.{item.name}" for i, item in enumerate(declared.field)})
        for i, nested in enumerate(declared.nested_type):
            message((*path, 3, i), names[path], nested)
        for i, nested_enum in enumerate(declared.enum_type):
            enum((*path, 4, i), names[path], nested_enum)

    for i, declared in enumerate(file.message_type):
        message((4, i), file.package, declared)
    for i, declared_enum in enumerate(file.enum_type):
        enum((5, i), file.package, declared_enum)
    for i, service in enumerate(file.service):
        names[(6, i)] = f"{file.package}.{service.name}"
        names.update({(6, i, 2, j): f"{names[(6, i)]}.{item.name}" for j, item in enumerate(service.method)})
    for location in file.source_code_info.location:
        if (name := names.get(tuple(location.path))) and location.leading_comments:
            yield name, " ".join(location.leading_comments.split())


def short_name(full_name: str) -> str:
    """Return a schema's name: crm.identity.v1.Person becomes identity.Person."""
    return full_name.removeprefix("crm.").replace(".v1.", ".")


def messages_below(*roots: Descriptor) -> set[str]:
    """Return the full names of all messages that the roots hold, themselves included."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name not in found and message.full_name not in WELL_KNOWN:
            found.add(message.full_name)
            waiting += [field.message_type for field in message.fields if field.message_type]
    return found


class Schemas:
    """Collects the schemas of messages and enums as they are mentioned."""

    def __init__(self, texts: dict[str, str], asked: set[str], answered: set[str]) -> None:
        self.texts = texts
        self.both = asked & answered
        self.schemas: dict[str, Schema] = {}

    def message(self, message: Descriptor, *, request: bool, without: frozenset[str] = frozenset()) -> Schema:
        """Return a reference to a message's schema; `without`: fields that the path gives already."""
        if message.full_name in WELL_KNOWN:
            return dict(WELL_KNOWN[message.full_name])
        name = short_name(message.full_name) + (
            ".Input" if request and message.full_name in self.both else ""
        )
        if name not in self.schemas:
            schema = self.schemas[name] = self._described(message.full_name, {"type": "object"})
            fields = [field for field in message.fields if field.name not in without]
            always = [field.json_name for field in fields if not field.has_presence]
            if always and not request:
                schema["required"] = always
            schema["properties"] = {field.json_name: self.field(field, request=request) for field in fields}
            if request:
                schema["additionalProperties"] = False
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor, *, request: bool) -> Schema:
        """Return a field's schema with its comment."""
        schema: Schema
        if field.message_type and field.message_type.GetOptions().map_entry:
            # A map is one object in JSON, not a list of entries.
            value = self.field(field.message_type.fields_by_name["value"], request=request)
            return self._described(field.full_name, {"type": "object", "additionalProperties": value})
        if field.message_type:
            schema = self.message(field.message_type, request=request)
        elif field.enum_type:
            schema = self.enum(field.enum_type)
        else:
            schema = dict(SCALARS[field.type])
        if field.is_repeated:
            schema = {"type": "array", "items": schema}
        elif "$ref" in schema:
            # OpenAPI 3.0 ignores what stands beside a reference.
            schema = {"allOf": [schema]}
        return self._described(field.full_name, schema)

    def enum(self, enum: EnumDescriptor) -> Schema:
        """Return a reference to an enum's schema, a union of its names."""
        name = short_name(enum.full_name)
        lines = [self.texts.get(enum.full_name, "")]
        lines += [
            f"- `{item.name}`: {self.texts.get(f'{enum.full_name}.{item.name}', '')}" for item in enum.values
        ]
        self.schemas[name] = {
            "type": "string",
            "description": "\n".join(lines),
            "enum": [item.name for item in enum.values],
        }
        return {"$ref": f"#/components/schemas/{name}"}

    def _described(self, full_name: str, schema: Schema) -> Schema:
        text = self.texts.get(full_name)
        return schema | {"description": text} if text else schema


def operation(route: Route, schemas: Schemas) -> Schema:
    """Return the operation object of an RPC's route."""
    request = route.method.input_type
    in_path = frozenset(route.path_fields)
    parameters = []
    for dotted in route.path_fields:
        field = path_field(request, dotted)
        described = schemas.field(field, request=True)
        text = described.pop("description", "")
        parameters.append(
            {
                "name": field.json_name,
                "in": "path",
                "required": True,
                "description": text,
                "schema": described,
            }
        )
    result: Schema = {
        "tags": [route.service],
        "operationId": f"{route.service}.{route.method.name}",
        "summary": schemas.texts.get(route.method.full_name, ""),
        "description": access(route.method),
        "parameters": parameters,
        "responses": answers(schemas.message(route.method.output_type, request=False)),
    }
    if route.has_body:
        body = schemas.message(request, request=True, without=in_path)
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
        result["requestBody"] = {
            # A request that only says "do it" may come without a body.
            "required": any(field.name not in in_path | {"request_id"} for field in request.fields),
            "content": {"application/json": {"schema": body}},
        }
    else:
        for field in request.fields:
            if field.name not in in_path:
                described = schemas.field(field, request=True)
                text = described.pop("description", "")
                parameters.append(
                    {"name": field.json_name, "in": "query", "description": text, "schema": described}
                )
    return result


def access(method: MethodDescriptor) -> str:
    """Return who may call a method."""
    rule = method.GetOptions().Extensions[options_pb2.access]
    return f"Needs the right `{rule.right}`." if rule.right else "For every signed-in person."


def answers(schema: Schema, description: str = "Done.") -> Schema:
    """Return the responses of an operation: its success and the error that all share."""
    return {
        "200": {"description": description, "content": {"application/json": {"schema": schema}}},
        "default": {"$ref": "#/components/responses/Error"},
    }


def session_routes(schemas: Schemas) -> Schema:
    """Return the paths that the gateway answers itself."""
    sign_in = schemas.message(identity_pb2.SignInRequest.DESCRIPTOR, request=True)
    person = schemas.message(identity_pb2.Person.DESCRIPTOR, request=False)
    schemas.schemas["gateway.Session"] = {
        "type": "object",
        "description": "A session that was opened.",
        "required": ["person", "expireTime"],
        "properties": {
            "person": person,
            "expireTime": {
                "type": "string",
                "format": "date-time",
                "description": "When the session ends at the latest.",
            },
            "sessionToken": {
                "type": "string",
                "description": "The session's secret; only when asked for by `token=true`.",
            },
        },
    }
    call_id = {"name": "callId", "in": "path", "required": True, "schema": {"type": "string"}}
    audio = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "/api/v1/session": {
            "post": {
                "tags": ["session"],
                "operationId": "session.SignIn",
                "summary": "Sign in: open a session and set its cookie.",
                "security": [],
                "parameters": [
                    {
                        "name": "token",
                        "in": "query",
                        "description": "True: give the session's secret in the body and set no cookie.",
                        "schema": {"type": "boolean"},
                    }
                ],
                "requestBody": {"required": True, "content": {"application/json": {"schema": sign_in}}},
                "responses": answers({"$ref": "#/components/schemas/gateway.Session"}),
            },
            "delete": {
                "tags": ["session"],
                "operationId": "session.SignOut",
                "summary": "Sign out: end the session and clear its cookie.",
                "responses": {
                    "204": {"description": "Ended."},
                    "default": {"$ref": "#/components/responses/Error"},
                },
            },
        },
        "/api/v1/calls/{callId}/recording": {
            "get": {
                "tags": ["telephony"],
                "operationId": "telephony.GetRecording",
                "summary": "A call's recording, a WAV file; understands Range.",
                "description": "Needs the right `recordings.play`.",
                "parameters": [
                    call_id,
                    {
                        "name": "Range",
                        "in": "header",
                        "description": "One range of bytes, for example bytes=0-65535.",
                        "schema": {"type": "string"},
                    },
                ],
                "responses": {
                    "200": {"description": "The whole file.", "content": audio},
                    "206": {"description": "The range.", "content": audio},
                    "416": {"description": "The range lies outside of the file."},
                    "default": {"$ref": "#/components/responses/Error"},
                },
            }
        },
        "/api/v1/live": {
            "get": {
                "tags": ["live"],
                "operationId": "live.Connect",
                "summary": "The live socket (WebSocket): a snapshot, then what changes.",
                "description": (
                    "Each text frame is one `live.Event`. Without the cookie, send the Authorization header or offer "
                    "the subprotocols `gonghai` and `bearer.<token>`. Close codes: 4401 the session has ended, "
                    "1012 the gateway stops, 1013 the reader was too slow or a service is away: connect again."
                ),
                "responses": {
                    "101": {"description": "Switched to WebSocket."},
                    "default": {"$ref": "#/components/responses/Error"},
                },
            }
        },
    }


def file_routes(schemas: Schemas) -> Schema:
    """Return the paths that take and give files."""
    imported = schemas.message(imports_pb2.FinishImportFileResponse.DESCRIPTOR, request=False)
    binary: Schema = {"schema": {"type": "string", "format": "binary"}}
    import_id = {"name": "importId", "in": "path", "required": True, "schema": {"type": "string"}}
    # For links, which have no header of their own.
    locale: Schema = {"name": "locale", "in": "query", "schema": {"type": "string", "enum": ["zh-CN", "en"]}}

    def file(*media_types: str) -> Schema:
        return {
            "200": {"description": "The file.", "content": dict.fromkeys(media_types, binary)},
            "default": {"$ref": "#/components/responses/Error"},
        }

    fields = customers_pb2.ListCustomersRequest.DESCRIPTOR.fields
    listed = [field for field in fields if field.name not in ("page_size", "page_token")]
    kind: Schema = {"type": "string", "enum": ["csv", "xlsx"], "default": "csv"}
    return {
        "/api/v1/imports:upload": {
            "post": {
                "tags": ["customers"],
                "operationId": "customers.UploadImport",
                "summary": "Begin an import with its file; its rows are staged behind the answer.",
                "description": "Needs the right `customers.import`. CSV or XLSX, at most 64 MiB.",
                "parameters": [
                    {"name": "fileName", "in": "query", "required": True, "schema": {"type": "string"}},
                    {"$ref": "#/components/parameters/IdempotencyKey"},
                ],
                "requestBody": {"required": True, "content": {"application/octet-stream": binary}},
                "responses": answers(imported),
            }
        },
        "/api/v1/imports/{importId}/errors": {
            "get": {
                "tags": ["customers"],
                "operationId": "customers.DownloadImportErrors",
                "summary": schemas.texts.get("crm.customers.v1.ImportsService.DownloadImportErrors", ""),
                "description": "Needs the right `customers.import`.",
                "parameters": [import_id, locale],
                "responses": file("text/csv"),
            }
        },
        "/api/v1/customers:export": {
            "get": {
                "tags": ["customers"],
                "operationId": "customers.ExportCustomers",
                "summary": schemas.texts.get("crm.customers.v1.ExportsService.ExportCustomers", ""),
                "description": "Needs the right `customers.export`. The list's own parameters, and the format.",
                "parameters": [
                    {"name": "format", "in": "query", "schema": kind},
                    locale,
                    *(
                        {"name": field.json_name, "in": "query", "schema": schemas.field(field, request=True)}
                        for field in listed
                    ),
                ],
                "responses": file("text/csv", MEDIA_TYPES["xlsx"]),
            }
        },
    }


def live_schemas(schemas: Schemas) -> None:
    """Add what the live socket sends."""
    pop = schemas.message(telephony_pb2.Pop.DESCRIPTOR, request=False)
    message = schemas.message(notify_pb2.Message.DESCRIPTOR, request=False)
    count: Schema = {"type": "integer", "description": "How many messages are unread."}
    kinds: dict[str, tuple[str, str, Schema]] = {
        "Snapshot": (
            "snapshot",
            "All there is; first, and again whenever the stream may have had a gap. Replaces what was shown.",
            {"pops": {"type": "array", "items": pop}, "unreadCount": count},
        ),
        "PopChanged": ("pop", "A pop came or changed.", {"pop": pop}),
        "MessageCreated": (
            "message",
            "A new message; `unread` follows with the count.",
            {"message": message},
        ),
        "UnreadChanged": ("unread", "The number of unread messages changed.", {"unreadCount": count}),
        "AgentChanged": (
            "agent",
            "Where the reader stands as an agent may have changed: the extension, the state, or both.",
            {},
        ),
        "Alive": (
            "alive",
            "Nothing happened for 20 s: who hears nothing for longer has lost the stream.",
            {},
        ),
        "ApprovalChanged": (
            "approval",
            "An approval that concerns the reader changed.",
            {"approvalId": {"type": "string", "description": "UUID."}},
        ),
    }
    for name, (kind, text, properties) in kinds.items():
        schemas.schemas[f"live.{name}"] = {
            "type": "object",
            "description": text,
            "required": ["type", "seq", *properties],
            "properties": {
                "type": {"type": "string", "enum": [kind]},
                "seq": {"type": "integer", "description": "Counts this socket's frames from 1 on."},
                **properties,
            },
        }
    schemas.schemas["live.Event"] = {
        "description": "A frame of the live socket.",
        "oneOf": [{"$ref": f"#/components/schemas/live.{name}"} for name in kinds],
    }


def document() -> Schema:
    """Return the whole OpenAPI document."""
    table = routes()
    answered = messages_below(
        *(route.method.output_type for route in table),
        identity_pb2.Person.DESCRIPTOR,
        telephony_pb2.Pop.DESCRIPTOR,
        notify_pb2.Message.DESCRIPTOR,
    )
    asked = messages_below(*(route.method.input_type for route in table))
    schemas = Schemas(comments(), asked, answered)
    paths: dict[str, Schema] = {}
    for route in table:
        path = route.template
        for dotted in route.path_fields:
            name = path_field(route.method.input_type, dotted).json_name
            path = path.replace(f"{{{dotted}}}", f"{{{name}}}")
        paths.setdefault(path, {})[route.verb.lower()] = operation(route, schemas)
    paths |= session_routes(schemas) | file_routes(schemas)
    live_schemas(schemas)
    schemas.schemas["Error"] = ERROR
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "Gonghai",
            "version": "1",
            "description": (
                "The HTTP API of Gonghai 公海 CRM. Numbers of 64 bits are strings, times are RFC 3339 in UTC, fields "
                "that the contract does not know are refused, and so are texts with NUL. What a body says again of the "
                "path must be the same. Texts follow Accept-Language (zh-CN, en)."
            ),
        },
        "security": [{"session": []}, {"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.schemas.items())),
            "parameters": {
                "IdempotencyKey": {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "UUID used as request_id where the body has none.",
                    "schema": {"type": "string", "format": "uuid"},
                }
            },
            "responses": {
                "Error": {
                    "description": "Refused or failed.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "gonghai_session",
                    "description": (
                        "Set by signing in. What changes data also needs the header `X-Requested-With: gonghai` or an "
                        "Origin that is the API's own."
                    ),
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A session's secret (signed in with `token=true`) or an API key.",
                },
            },
        },
    }


def rendered() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), ensure_ascii=False, indent=1) + "\n"


def main() -> int:
    text = rendered()
    if "--check" in sys.argv[1:]:
        if COMMITTED.read_text() == text:
            return 0
        print("services/gateway/openapi.json differs from the contracts; run `make proto`")  # noqa: T201  # a command's output
        return 1
    COMMITTED.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
