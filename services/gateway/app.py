"""The gateway's ASGI application: every route, and how errors are answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import grpc
from fastapi import FastAPI
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from services.chassis.errors import INTERNAL_EN, INTERNAL_ZH, AppError, Internal
from services.chassis.tokens import Signer
from services.gateway import account, epochs, files, recordings, static, transcode
from services.gateway.clients import Backends
from services.gateway.errors import Refusal, from_app, from_rpc
from services.gateway.frame import Frame, HttpRoute
from services.gateway.limits import Limits
from services.gateway.live import Live
from services.gateway.routes import PATH_FIELD, routes
from services.gateway.sessions import Sessions
from services.gateway.settings import ISSUER, Settings

# Smallest answer in bytes that is worth compressing, and how hard to try: 9 takes three times as long as 5.
GZIP_MINIMUM_BYTES, GZIP_LEVEL = 1024, 5
# Seconds until a task that did not take its cancellation gets it again.
CANCEL_AGAIN_S = 2.0


class SegmentConvertor(Convertor[str]):
    """A path field: one segment, up to the colon of a custom verb."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        """Return the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text as it is."""
        return value


register_url_convertor("segment", SegmentConvertor())


def build(settings: Settings) -> ASGIApp:
    """Return the application; its channels and its subscription live as long as the server that runs it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        backends = Backends(settings.addresses, settings.internal_tls)
        signer = Signer(ISSUER, settings.signing_key)
        limits = Limits(settings.allowances)
        sessions = Sessions(backends, signer, settings.session_cache_s, limits)
        live = Live(settings.amqp_url, backends, sessions, settings.alive_s)
        app.router.routes += [*api(backends, sessions, signer, live, limits), *static.pages()]
        # Whatever is no route; a mount would also take the API's paths with a wrong verb.
        app.router.default = static.Desktop(settings.web)
        following = asyncio.create_task(live.follow())
        watching = (
            asyncio.create_task(epochs.watch(backends, signer, sessions, live)),
            asyncio.create_task(live.check_sessions()),
        )
        yield
        for task in watching:
            task.cancel()
        while not following.done():
            # Again and again: the AMQP client swallows a cancellation that meets it while it connects.
            following.cancel()
            await asyncio.wait({following}, timeout=CANCEL_AGAIN_S)
        await backends.close()

    # FastAPI's own documents would describe handlers; ours come from the contracts.
    app = FastAPI(title="Gonghai", lifespan=lifespan, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=GZIP_MINIMUM_BYTES, compresslevel=GZIP_LEVEL)
    app.add_exception_handler(AppError, answer_app_error)
    app.add_exception_handler(grpc.aio.AioRpcError, answer_rpc_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_fault)
    return Frame(app)


def api(
    backends: Backends, sessions: Sessions, signer: Signer, live: Live, limits: Limits
) -> list[BaseRoute]:
    """Return the API's routes, what is more special first."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "serving", "subscribed": live.subscribed.is_set()})

    async def serve_live(websocket: WebSocket) -> None:
        await live.serve(websocket)

    def route(verb: str, path: str, endpoint: transcode.Endpoint) -> BaseRoute:
        return HttpRoute(as_starlette(path), endpoint, methods=[verb], name=path)

    return [
        route("GET", "/healthz", healthz),
        route("POST", "/api/v1/session", account.sign_in(backends, signer, limits)),
        route("DELETE", "/api/v1/session", account.sign_out(backends, sessions, signer)),
        route("GET", "/api/v1/calls/{call_id}/recording", recordings.endpoint(backends, sessions)),
        route("POST", "/api/v1/imports:upload", files.upload(backends, sessions)),
        route("GET", "/api/v1/imports/{import_id}/errors", files.errors(backends, sessions)),
        route("GET", "/api/v1/customers:export", files.export(backends, sessions)),
        WebSocketRoute("/api/v1/live", serve_live),
        *(route(rpc.verb, rpc.template, transcode.endpoint(rpc, backends, sessions)) for rpc in routes()),
    ]


def as_starlette(template: str) -> str:
    """Return a path as Starlette writes it; a dotted field's name has underscores there."""
    return PATH_FIELD.sub(lambda match: f"{{{match[1].replace('.', '__')}:segment}}", template)


def locale(request: Request) -> str:
    """Return the language of a request."""
    chosen: str = request.state.trace.locale
    return chosen


async def answer_app_error(request: Request, error: Exception) -> Response:
    """Answer an error that was raised here."""
    return from_app(cast(AppError, error), locale(request)).response()


async def answer_rpc_error(request: Request, error: Exception) -> Response:
    """Answer what a service refused, or that none was there."""
    return from_rpc(cast(grpc.aio.AioRpcError, error), locale(request)).response()


async def answer_http_error(request: Request, fault: Exception) -> Response:
    """Answer a path or verb that nobody serves."""
    error = cast(HTTPException, fault)
    if not request.url.path.startswith("/api/"):
        return PlainTextResponse(error.detail, error.status_code, error.headers)
    english = locale(request).startswith("en")
    reason, code, text = {
        404: ("NO_SUCH_PATH", "NOT_FOUND", "No such path" if english else "没有这个地址"),
        405: ("NO_SUCH_METHOD", "UNIMPLEMENTED", "Not with this method" if english else "该地址不支持此方法"),
    }.get(error.status_code, ("HTTP_ERROR", "INTERNAL", error.detail))
    response = Refusal(code, reason, text, status=error.status_code).response()
    response.headers.update(error.headers or {})
    return response


async def answer_fault(request: Request, _error: Exception) -> Response:
    """Answer a fault of ours with a fixed text; the server logs its cause."""
    return from_app(Internal("INTERNAL", INTERNAL_ZH, INTERNAL_EN), locale(request)).response()
