"""Who a request is from: the session's secret it carries, exchanged for a short-lived access token.

The secret comes in the cookie (browser) or as `Authorization: Bearer` (mobile clients, API keys). An exchange is
reused for some seconds, and dropped as soon as identity says that the account changed.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from crm.identity.v1 import identity_pb2
from starlette.requests import HTTPConnection

from services.chassis.errors import Forbidden
from services.chassis.tokens import Signer
from services.gateway.clients import TIMEOUT_S, Backends, Trace
from services.gateway.errors import signed_out
from services.gateway.limits import Limits

# The browser's cookie.
COOKIE = "gonghai_session"
# A token is not used in its last seconds: it must still hold when the service checks it.
EXPIRY_MARGIN_S = 10.0
# What a script of our own pages sends; a foreign page cannot without asking us first (CORS).
CSRF_HEADER, CSRF_VALUE = "x-requested-with", "gonghai"

# Its own: whoever seeds the process's to repeat something would be disturbed.
JITTER = random.Random()  # noqa: S311 - no secret
# Sessions that identity looks at in one call: as many as it takes.
CHECKED_AT_ONCE = 1000

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Session:
    """A person behind a session's secret. access_token: what services take, signed by identity."""

    tenant_id: str
    person_id: str
    access_token: str


def secret_of(connection: HTTPConnection) -> tuple[str, bool]:
    """Return the session's secret of a request and whether it came in the cookie; ("", False) without one."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip(), False
    cookie = connection.cookies.get(COOKIE, "")
    return cookie, bool(cookie)


def same_origin(connection: HTTPConnection) -> bool | None:
    """Return whether the page behind a request is our own; None when the client does not say."""
    origin = connection.headers.get("origin")
    if origin is None:
        return None
    return origin.partition("://")[2] == connection.headers.get("host", "")


def refuse_foreign_page(connection: HTTPConnection, *, silence_is_fine: bool = False) -> None:
    """Raise Forbidden CROSS_SITE when another site's page may be behind a change (CSRF).

    silence_is_fine: accept a client that does not say which page it is, as programs do.
    """
    own = same_origin(connection)
    if own or (own is None and silence_is_fine) or connection.headers.get(CSRF_HEADER) == CSRF_VALUE:
        return
    raise Forbidden("CROSS_SITE", "请求来自其他网站，已拒绝", "The request comes from another site")


def spread(longest_s: float) -> float:
    """Return half of a time to all of it: pages that came back together must not all ask again together."""
    return longest_s * JITTER.uniform(0.5, 1.0)


class Sessions:
    """Exchanges sessions' secrets, once at a time for each.

    cache_s: longest time, in seconds, that an exchange is reused; one of an account that changed is dropped at once.
    limits: how much they may ask.
    """

    def __init__(self, backends: Backends, signer: Signer, cache_s: float, limits: Limits) -> None:
        self.cache_s = cache_s
        self._limits = limits
        self._identity = backends.identity
        self._signer = signer
        # By the secret's hash: fresh until (monotonic seconds), and the exchange, done or under way.
        self._exchanges: dict[bytes, tuple[float, asyncio.Task[tuple[Session, float]]]] = {}
        self._next_drop = 0.0

    async def of(self, secret: str, trace: Trace) -> Session:
        """Return who the secret stands for.

        Raises Unauthenticated without a secret, AioRpcError with identity's refusal for an ended session or an
        identity that is away.
        """
        if not secret:
            raise signed_out()
        key = hashlib.sha256(secret.encode()).digest()
        now = time.monotonic()
        fresh_until, task = self._exchanges.get(key, (0.0, None))
        if task is None or now >= fresh_until:
            self._drop_old(now)
            task = asyncio.create_task(self._exchange(secret, trace))
            self._exchanges[key] = (now + TIMEOUT_S, task)
            task.add_done_callback(lambda done: self._settle(key, done))
        # Others wait for the same exchange: one that gives up must not take it from them.
        session, _ = await asyncio.shield(task)
        return session

    async def acting(self, secret: str, trace: Trace, act: Callable[[str], Awaitable[Answer]]) -> Answer:
        """Return what `act` answers to an access token; a token that a service refuses is exchanged once more.

        A change of rights makes services refuse tokens that are still in the cache. Raises Quota for an account or a
        tenant that asks too much.
        """
        session = await self.of(secret, trace)
        with self._limits.request(session.tenant_id, session.person_id):
            return await self._acting(session, secret, trace, act)

    async def acting_for_a_page(
        self, secret: str, trace: Trace, act: Callable[[str], Awaitable[Answer]]
    ) -> Answer:
        """Return what `act` answers, as `acting` does, for what the gateway asks by itself: it counts as no request."""
        return await self._acting(await self.of(secret, trace), secret, trace, act)

    async def _acting(
        self, session: Session, secret: str, trace: Trace, act: Callable[[str], Awaitable[Answer]]
    ) -> Answer:
        try:
            return await act(session.access_token)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
        self.forget(secret)
        return await act((await self.of(secret, trace)).access_token)

    async def ended(self, secrets: Sequence[str]) -> list[str]:
        """Return those of these secrets whose session is over; raises AioRpcError when identity is away."""
        over: list[str] = []
        for first in range(0, len(secrets), CHECKED_AT_ONCE):
            answer = await self._identity.CheckSessions(
                identity_pb2.CheckSessionsRequest(session_tokens=secrets[first : first + CHECKED_AT_ONCE]),
                timeout=TIMEOUT_S,
                metadata=Trace.unasked().metadata(self._signer.service_token(None)),
            )
            over += answer.ended_tokens
        return over

    def forget_account(self, person_id: str) -> None:
        """Drop every exchange of a person: what the person may do has changed."""
        self._exchanges = {
            key: entry for key, entry in self._exchanges.items() if not _is_of(entry[1], person_id)
        }

    def forget(self, secret: str) -> None:
        """Drop what is cached for a secret."""
        self._exchanges.pop(hashlib.sha256(secret.encode()).digest(), None)

    async def _exchange(self, secret: str, trace: Trace) -> tuple[Session, float]:
        answer = await self._identity.ExchangeSession(
            identity_pb2.ExchangeSessionRequest(session_token=secret),
            timeout=TIMEOUT_S,
            metadata=trace.metadata(self._signer.service_token(None)),
        )
        left_s = answer.expire_time.ToNanoseconds() / 1e9 - time.time() - EXPIRY_MARGIN_S
        session = Session(answer.tenant_id, answer.person_id, answer.access_token)
        return session, time.monotonic() + min(spread(self.cache_s), left_s)

    def _settle(self, key: bytes, task: asyncio.Task[tuple[Session, float]]) -> None:
        """Keep a good answer for its time and forget a refusal at once."""
        if self._exchanges.get(key, (0.0, None))[1] is not task:
            return
        if task.cancelled() or task.exception():
            del self._exchanges[key]
        else:
            self._exchanges[key] = (task.result()[1], task)

    def _drop_old(self, now: float) -> None:
        """Forget what is stale, now and then, so that the cache is no larger than its users are many."""
        if now > self._next_drop:
            self._next_drop = now + self.cache_s
            self._exchanges = {key: entry for key, entry in self._exchanges.items() if entry[0] > now}


def _is_of(task: "asyncio.Task[tuple[Session, float]]", person_id: str) -> bool:
    """Tell whether an exchange is a person's; one under way may be, so it is."""
    if not task.done():
        return True
    return not task.cancelled() and not task.exception() and task.result()[0].person_id == person_id
