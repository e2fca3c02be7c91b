"""Files in and out: an import's file taken as it comes, exports and error files passed on as they are written.

Neither is held in memory: a file goes to customers in parts, and comes from there in parts.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from crm.customers.v1 import customers_pb2, exports_pb2, imports_pb2
from grpc.aio import AioRpcError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from services.chassis.errors import InvalidInput
from services.chassis.logging import get_logger
from services.gateway.clients import TIMEOUT_S, Backends, Trace
from services.gateway.errors import Fault, InvalidFields, TooLarge
from services.gateway.sessions import Sessions, refuse_foreign_page, secret_of
from services.gateway.transcode import Endpoint, fill, json_response, query_object, request_id_of

# Largest file that is taken; customers has the same limit.
FILE_LIMIT_BYTES = 64 * 1024 * 1024
# What goes to customers in one call.
PART_BYTES = 512 * 1024
# Longest time, in seconds, that a download may take.
DOWNLOAD_TIMEOUT_S = 1800.0

log = get_logger(__name__)

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
FORMATS = {"": "csv", "csv": "csv", "xlsx": "xlsx"}
SHEETS = {"csv": exports_pb2.SHEET_FORMAT_CSV, "xlsx": exports_pb2.SHEET_FORMAT_XLSX}


def upload(backends: Backends, sessions: Sessions) -> Endpoint:
    """Return the handler of POST /api/v1/imports:upload: the body is the file, fileName names it."""

    async def answer(request: Request) -> Response:
        trace: Trace = request.state.trace
        secret, by_cookie = secret_of(request)
        await sessions.of(secret, trace)
        if by_cookie:
            refuse_foreign_page(request)
        if int(request.headers.get("content-length", "0") or 0) > FILE_LIMIT_BYTES:
            raise TooLarge(FILE_LIMIT_BYTES)
        # A repeat of the whole upload under the same key finds its parts there.
        request_id = request_id_of(request.headers.get("idempotency-key", ""))

        async def call(method: Callable[..., Awaitable[Any]], message: Any) -> Any:
            return await sessions.acting(
                secret,
                trace,
                lambda token: method(message, timeout=TIMEOUT_S, metadata=trace.metadata(token)),
            )

        imports = backends.imports
        file_name = request.query_params.get("fileName", "")
        created = await call(
            imports.CreateImport,
            imports_pb2.CreateImportRequest(request_id=request_id, file_name=file_name),
        )
        import_id = getattr(created, "import").import_id
        offset = 0
        async for part in parts(request):
            if offset + len(part) > FILE_LIMIT_BYTES:
                raise TooLarge(FILE_LIMIT_BYTES)
            await call(
                imports.AppendImportFile,
                imports_pb2.AppendImportFileRequest(import_id=import_id, offset_bytes=offset, chunk=part),
            )
            offset += len(part)
        finished = await call(
            imports.FinishImportFile,
            imports_pb2.FinishImportFileRequest(
                request_id=str(uuid.uuid5(uuid.UUID(request_id), "finish")), import_id=import_id
            ),
        )
        return json_response(finished)

    return answer


async def parts(request: Request) -> AsyncIterator[bytes]:
    """Give a body's bytes in parts of one size, the last one smaller."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        while len(waiting) >= PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)


def errors(backends: Backends, sessions: Sessions) -> Endpoint:
    """Return the handler of GET /api/v1/imports/{import_id}/errors."""

    async def answer(request: Request) -> Response:
        asked = imports_pb2.DownloadImportErrorsRequest(import_id=request.path_params["import_id"])
        return await download(
            request,
            sessions,
            backends.imports.DownloadImportErrors,
            asked,
            imports_pb2.DownloadImportErrorsResponse,
            "import-errors",
            "csv",
        )

    return answer


def export(backends: Backends, sessions: Sessions) -> Endpoint:
    """Return the handler of GET /api/v1/customers:export: the list's own parameters, and format=csv or xlsx."""

    async def answer(request: Request) -> Response:
        wanted = customers_pb2.ListCustomersRequest()
        faults: list[Fault] = []
        query = query_object(wanted, request.query_params, faults)
        query.pop("locale", None)
        kind = FORMATS.get(str(query.pop("format", "")).lower())
        if kind is None:
            raise InvalidInput("format", "FORMAT_UNKNOWN", "没有这样的文件格式", "There is no such format")
        fill(wanted, query, faults)
        if faults:
            raise InvalidFields(faults)
        asked = exports_pb2.ExportCustomersRequest(list=wanted, format=SHEETS[kind])
        part, method = exports_pb2.ExportCustomersResponse, backends.exports.ExportCustomers
        return await download(request, sessions, method, asked, part, "customers", kind)

    return answer


async def download(
    request: Request,
    sessions: Sessions,
    method: Callable[..., Any],
    asked: object,
    part_type: type[imports_pb2.DownloadImportErrorsResponse | exports_pb2.ExportCustomersResponse],
    name: str,
    kind: str,
) -> Response:
    """Return a stream of chunks as a file to keep."""
    trace: Trace = request.state.trace
    secret, _ = secret_of(request)

    async def begin(token: str) -> tuple[bytes, Any]:
        stream = method(asked, timeout=DOWNLOAD_TIMEOUT_S, metadata=trace.metadata(token))
        # Only the first part says whether there is a file for this caller.
        first = await stream.read()
        return (first.chunk if isinstance(first, part_type) else b""), stream

    first, stream = await sessions.acting(secret, trace, begin)

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield first
            while isinstance(following := await stream.read(), part_type):
                yield following.chunk
        finally:
            # Whoever leaves in the middle ends the call as well.
            stream.cancel()

    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{kind}"',
        "Cache-Control": "private, no-store",
    }
    return _Download(chunks(), 200, headers, MEDIA_TYPES[kind])


class _Download(StreamingResponse):
    """A file that its reader is not told to be whole when it is not."""

    async def stream_response(self, send: Send) -> None:
        """Pass the file on; without its last word where the service left in the middle, so that the reader sees it."""
        try:
            await super().stream_response(send)
        except AioRpcError as error:
            log.warning("a download broke off", code=error.code().name)
