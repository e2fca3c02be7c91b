"""What goes around every request: its id and language, the headers of the answer, a log line and a metric.

Pure ASGI, outside of everything else, so that answers to faults have it too.
"""

import re
import time

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.ids import new_id
from services.chassis.logging import get_logger
from services.gateway import metrics
from services.gateway.clients import Trace

log = get_logger(__name__)

# A request id from outside that is fit for logs and gRPC metadata.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
LANGUAGE = re.compile(r"\s*([A-Za-z]{2,3})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q=([0-9.]{1,5}))?\s*")

HEADERS = {
    # Everything from here, no script or style in a page; Element Plus sets style attributes.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


# Whoever came by TLS once comes by TLS for the next half year.
TRANSPORT_SECURITY = "max-age=15552000"


def locale_of(accept_language: str) -> str:
    """Return "en" where Accept-Language prefers English to Chinese, else "zh-CN"."""
    weights = {"zh": 0.0, "en": 0.0}
    for item in accept_language.split(","):
        match = LANGUAGE.fullmatch(item)
        if match and (language := match[1].lower()) in weights:
            try:
                weights[language] = max(weights[language], float(match[2] or 1))
            except ValueError:
                continue
    return "en" if weights["en"] > weights["zh"] else "zh-CN"


def chosen_locale(scope: Scope) -> str:
    """Return the query's `locale`: links to files and sockets cannot set a header."""
    return QueryParams(scope["query_string"]).get("locale", "")


class HttpRoute(Route):
    """A route that the frame finds again; its name is its template."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether and how the route matches."""
        match, found = super().matches(scope)
        return match, {**found, "route": self}


class Frame:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        trace = Trace(
            request_id=given if REQUEST_ID.fullmatch(given) else new_id(),
            locale=locale_of(chosen_locale(scope) or headers.get("accept-language", "")),
        )
        scope.setdefault("state", {})["trace"] = trace
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["x-request-id"] = trace.request_id
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
                if "https" in {scope["scheme"], headers.get("x-forwarded-proto", "")}:
                    answered.setdefault("Strict-Transport-Security", TRANSPORT_SECURITY)
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        finally:
            seconds = time.perf_counter() - started
            metrics.REQUEST_SECONDS.labels(scope["method"], template_of(scope), str(status)).observe(seconds)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=round(seconds * 1000, 1),
                trace_id=trace.request_id,
            )


def template_of(scope: Scope) -> str:
    """Return the matched route's template; files and unknown paths of the API share a name each."""
    route = scope.get("route")
    if isinstance(route, HttpRoute):
        return route.name
    return "none" if scope["path"].startswith("/api/") else "files"
