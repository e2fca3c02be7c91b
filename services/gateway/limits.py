"""How much one may ask of a gateway, so that nobody takes the others' share.

Three bounds, each of this instance alone: requests a second of an account (a script that runs wild), requests of a
tenant at work at once (the services' threads are everybody's), sign-ins a minute from an address (guessing passwords;
identity locks the account besides). What is over a bound is refused at once, with when to come back, and costs no
service anything. Nothing is lost that matters: a restart forgets what was used.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from services.chassis.errors import Quota

# How much more than its rate somebody may ask at once, in seconds of the rate: a page asks a dozen things as it opens.
BURST_S: Final = 4.0
# Buckets are looked through for full ones, which say nothing, after so many; there are as many as people at work.
MOST_BUCKETS: Final = 20_000


@dataclass(frozen=True)
class Allowances:
    """requests_per_second: of an account. in_flight: of a tenant, at once. sign_ins_per_minute: from an address.

    0 is no bound.
    """

    requests_per_second: int = 100
    in_flight: int = 64
    sign_ins_per_minute: int = 300


class Buckets:
    """Token buckets by key. rate: tokens a second. size: the most that one holds, and begins with."""

    def __init__(self, rate: float, size: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._size = size
        self._clock = clock
        # Tokens at a time, by key.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> float:
        """Take a token; return 0, or the seconds until there will be one."""
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, since = self._buckets.get(key, (self._size, now))
        tokens = min(self._size, tokens + (now - since) * self._rate)
        if tokens < 1:
            return (1 - tokens) / self._rate
        if len(self._buckets) >= MOST_BUCKETS:
            self._drop_full(now)
        self._buckets[key] = (tokens - 1, now)
        return 0.0

    def _drop_full(self, now: float) -> None:
        self._buckets = {
            key: (tokens, since)
            for key, (tokens, since) in self._buckets.items()
            if tokens + (now - since) * self._rate < self._size
        }


class Limits:
    """The bounds of one gateway; only for its event loop's thread."""

    def __init__(self, allowances: Allowances, clock: Callable[[], float] = time.monotonic) -> None:
        rate, sign_ins = float(allowances.requests_per_second), allowances.sign_ins_per_minute / 60
        self._accounts = Buckets(rate, rate * BURST_S, clock)
        self._addresses = Buckets(sign_ins, float(allowances.sign_ins_per_minute), clock)
        self._in_flight = allowances.in_flight
        self._at_work: Counter[str] = Counter()

    def sign_in(self, address: str) -> None:
        """Count a sign-in; raises Quota TOO_MANY_SIGN_INS."""
        if wait_s := self._addresses.take(address):
            raise Quota(
                "TOO_MANY_SIGN_INS",
                "登录过于频繁，请稍后再试",
                "Too many sign-ins from here; try later",
                retry_after_s=math.ceil(wait_s),
            )

    @contextmanager
    def request(self, tenant_id: str, account: str) -> Iterator[None]:
        """Count a request while it is at work; raises Quota TOO_MANY_REQUESTS or TENANT_BUSY."""
        if wait_s := self._accounts.take(account):
            raise Quota(
                "TOO_MANY_REQUESTS",
                "请求过于频繁，请稍后再试",
                "Too many requests; try later",
                retry_after_s=math.ceil(wait_s),
            )
        if self._in_flight and self._at_work[tenant_id] >= self._in_flight:
            raise Quota(
                "TENANT_BUSY",
                "贵公司同时进行的请求过多，请稍后再试",
                "Your company has too many requests at work; try later",
                retry_after_s=1,
            )
        self._at_work[tenant_id] += 1
        try:
            yield
        finally:
            self._at_work[tenant_id] -= 1
            if not self._at_work[tenant_id]:
                del self._at_work[tenant_id]
