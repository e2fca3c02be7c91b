"""Say when a modem must not send: what its SIM may send is spent, or nothing gets through. Pure but for a clock."""

import time
from collections import deque
from collections.abc import Callable, Iterable

_HOUR_S, _DAY_S = 3600, 86400
# Paused sending is tried again at least this often.
_MAX_PAUSE_S = 900.0


class Allowance:
    """Keep to what a SIM may send in any hour and in any 24 hours."""

    # How far back it looks.
    WINDOW_S = _DAY_S

    def __init__(
        self, hourly_limit: int, daily_limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._limits = (
            (hourly_limit, _HOUR_S, "as many messages in an hour as this SIM may send"),
            (daily_limit, _DAY_S, "as many messages in a day as this SIM may send"),
        )
        # When the last ones were sent, oldest first.
        self._sent: deque[float] = deque(maxlen=max(hourly_limit, daily_limit))

    def start(self, ages_s: Iterable[float]) -> None:
        """Take in what was sent before, by the age in seconds of each."""
        now = self._clock()
        self._sent.extend(sorted(now - age_s for age_s in ages_s))

    def note(self) -> None:
        """Count one that is sent now."""
        self._sent.append(self._clock())

    def spent(self) -> str:
        """Say which limit is reached: the segment that many back is still within its window. Empty: none."""
        now = self._clock()
        return next(
            (
                words
                for limit, window_s, words in self._limits
                if len(self._sent) >= limit and now - self._sent[-limit] < window_s
            ),
            "",
        )


class Breaker:
    """Pause sending after failures in a row, longer each time, until a message gets through.

    failures: how many in a row. pause_s: the first pause; each further failure doubles it, up to 15 minutes.
    """

    def __init__(self, failures: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit = failures
        self._first_pause_s = pause_s
        self.reset()

    def reset(self) -> None:
        """Begin anew: a message got through."""
        self._failures = 0
        self._pause_s = self._first_pause_s
        self._open_until = 0.0
        self._reason = ""

    def count(self, reason: str) -> None:
        """Note a failure."""
        self._failures += 1
        if self._failures >= self._limit:
            self._reason = f"too many failures in a row, the last: {reason}"
            self._open_until = self._clock() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)

    def open(self) -> str:
        """Say why nothing is sent now; empty: sending is tried."""
        return self._reason if self._clock() < self._open_until else ""
