"""A call's recording over HTTP, whole or a range of it (RFC 9110, section 14), never held in memory."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from crm.telephony.v1 import telephony_pb2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.gateway.clients import Backends, Trace
from services.gateway.errors import from_rpc
from services.gateway.sessions import Sessions, secret_of
from services.gateway.transcode import Endpoint

# Longest time, in seconds, that a player may take to fetch what it asked for in one go.
STREAM_TIMEOUT_S = 600.0

# What telephony says of an offset at or behind the end; its metadata hold the size as `total`.
OUT_OF_RANGE = "OFFSET_OUT_OF_RANGE"

# One range of bytes: from-to, from-, or -last.
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

Stream = grpc.aio.UnaryStreamCall[telephony_pb2.GetRecordingRequest, telephony_pb2.GetRecordingResponse]
# Starts a stream: first byte, how many at most (0: to the end). Gives the file's size, the first bytes, the rest.
Start = Callable[[int, int], Awaitable[tuple[int, bytes, Stream]]]


def endpoint(backends: Backends, sessions: Sessions) -> Endpoint:
    """Return the handler of GET /api/v1/calls/{call_id}/recording."""

    async def answer(request: Request) -> Response:
        trace: Trace = request.state.trace
        secret, _ = secret_of(request)

        async def start(offset_bytes: int, length_bytes: int) -> tuple[int, bytes, Stream]:
            asked = telephony_pb2.GetRecordingRequest(
                call_id=request.path_params["call_id"], offset_bytes=offset_bytes, length_bytes=length_bytes
            )

            async def act(token: str) -> tuple[int, bytes, Stream]:
                metadata = trace.metadata(token)
                stream = backends.telephony.GetRecording(asked, timeout=STREAM_TIMEOUT_S, metadata=metadata)
                # Only the first part says whether there is a recording, and for this caller.
                first = await stream.read()
                if isinstance(first, telephony_pb2.GetRecordingResponse):
                    return first.total_bytes, first.chunk, stream
                return 0, b"", stream

            return await sessions.acting(secret, trace, act)

        response = await respond(request.headers.get("range", ""), start)
        response.headers.update({"Accept-Ranges": "bytes", "Cache-Control": "private, no-store"})
        return response

    return answer


async def respond(wanted: str, start: Start) -> Response:
    """Return the file, the wanted range of it, or 416; a Range that is not understood is as none."""
    match = RANGE.fullmatch(wanted.strip())
    first, last = match.groups() if match else ("", "")
    if first:
        offset, end = int(first), int(last or 0)
        if not last or end >= offset:
            return await part(start, offset, end - offset + 1 if last else 0)
    elif last:
        # The last bytes: where they begin is known only with the size.
        total, _, stream = await start(0, 1)
        stream.cancel()
        if int(last) == 0:
            return beyond(total)
        return await part(start, max(0, total - int(last)), 0)
    total, chunk, stream = await start(0, 0)
    return stream_of(200, total, chunk, stream, {})


async def part(start: Start, offset: int, length: int) -> Response:
    """Return `length` bytes from `offset` on, 0: to the end."""
    try:
        total, chunk, stream = await start(offset, length)
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc(error, "")
        if refusal.reason != OUT_OF_RANGE:
            raise
        return beyond(int(refusal.metadata["total"]))
    length = min(length or total, total - offset)
    return stream_of(
        206, length, chunk, stream, {"Content-Range": f"bytes {offset}-{offset + length - 1}/{total}"}
    )


def beyond(total: int) -> Response:
    """Return the answer to a range that lies outside of the file."""
    return Response(status_code=416, headers={"Content-Range": f"bytes */{total}"})


def stream_of(status: int, length: int, chunk: bytes, rest: Stream, headers: dict[str, str]) -> Response:
    """Return the response that passes on a stream of known length."""

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield chunk
            while isinstance(following := await rest.read(), telephony_pb2.GetRecordingResponse):
                yield following.chunk
        finally:
            # A player that leaves in the middle ends the call as well.
            rest.cancel()

    return StreamingResponse(chunks(), status, {"Content-Length": str(length), **headers}, "audio/wav")
