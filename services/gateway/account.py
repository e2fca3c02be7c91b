"""Signing in and out: the only requests that a browser makes without a session or to end one."""

import json

from crm.identity.v1 import identity_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.chassis.tokens import Signer
from services.gateway.clients import TIMEOUT_S, Backends, Trace
from services.gateway.errors import Fault, InvalidFields, signed_out
from services.gateway.limits import Limits
from services.gateway.sessions import COOKIE, Sessions, refuse_foreign_page, secret_of
from services.gateway.transcode import Endpoint, fill, read_object, to_json


def is_secure(request: Request) -> bool:
    """Return whether the browser speaks TLS, to us or to the proxy before us."""
    return "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "")}


def sign_in(backends: Backends, signer: Signer, limits: Limits) -> Endpoint:
    """Return the handler of POST /api/v1/session."""

    async def answer(request: Request) -> Response:
        trace: Trace = request.state.trace
        limits.sign_in(request.client.host if request.client else "")
        # A program keeps the secret itself; a browser gets it in a cookie that no script can read.
        shows_secret = request.query_params.get("token") == "true"
        if not shows_secret:
            refuse_foreign_page(request, silence_is_fine=True)
        credentials = identity_pb2.SignInRequest()
        faults: list[Fault] = []
        fill(credentials, await read_object(request), faults)
        if faults:
            raise InvalidFields(faults)
        metadata = trace.metadata(signer.service_token(None))
        session = await backends.identity.SignIn(credentials, timeout=TIMEOUT_S, metadata=metadata)
        body = json.loads(to_json(session))
        secret = body.pop("sessionToken")
        if shows_secret:
            body["sessionToken"] = secret
        response = JSONResponse(body, headers={"Cache-Control": "no-store"})
        if not shows_secret:
            expires = expiry(session.expire_time)
            response.set_cookie(
                COOKIE, secret, expires=expires, httponly=True, samesite="strict", secure=is_secure(request)
            )
        return response

    return answer


def expiry(time: Timestamp) -> str:
    """Return a time as a cookie's Expires (RFC 6265)."""
    return time.ToDatetime().strftime("%a, %d %b %Y %H:%M:%S GMT")


def sign_out(backends: Backends, sessions: Sessions, signer: Signer) -> Endpoint:
    """Return the handler of DELETE /api/v1/session."""

    async def answer(request: Request) -> Response:
        trace: Trace = request.state.trace
        secret, by_cookie = secret_of(request)
        if not secret:
            raise signed_out()
        if by_cookie:
            refuse_foreign_page(request)
        sessions.forget(secret)
        await backends.identity.SignOut(
            identity_pb2.SignOutRequest(session_token=secret),
            timeout=TIMEOUT_S,
            metadata=trace.metadata(signer.service_token(None)),
        )
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=is_secure(request))
        return response

    return answer
