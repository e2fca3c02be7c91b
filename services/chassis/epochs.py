"""Old tokens: a person's rights, place or account changed, or somebody signed the person out, so they count no more.

A token lives for a minute and says in which epoch of its account it was made. Identity raises the epoch; every
process asks it each second whose epochs rose during that minute, and refuses what is older. That needs no broker, has
nothing to miss and nothing to catch up with. While identity is away nothing new is learned: then a token ends by its
own time, and nobody gets another one.
"""

import threading
import time
from collections.abc import Callable, Mapping

from services.chassis.errors import AppError, Unauthenticated
from services.chassis.logging import get_logger
from services.chassis.metrics import EPOCHS_AGE
from services.chassis.tokens import Caller

log = get_logger(__name__)

# Seconds between two looks; with the time of the change itself it must stay below two.
LOOK_S = 1.0


class Epochs:
    """Epochs that rose lately, by account; thread-safe."""

    def __init__(self) -> None:
        self._raised: Mapping[str, int] = {}

    def take(self, raised: Mapping[str, int]) -> None:
        """Know these and no others: whoever is not named has no token that is old."""
        self._raised = dict(raised)

    def check(self, caller: Caller) -> None:
        """Raise Unauthenticated TOKEN_OLD when the caller's token is of an epoch that is over."""
        if caller.epoch < self._raised.get(caller.account_id, 0):
            raise Unauthenticated("TOKEN_OLD", "权限已变更，请重试", "Your rights have changed; try again")


class EpochWatch:
    """A thread that keeps `epochs` fresh.

    ask: returns the epochs that rose lately; raises AppError while identity is away.
    """

    def __init__(self, epochs: Epochs, ask: Callable[[], Mapping[str, int]]) -> None:
        self._epochs = epochs
        self._ask = ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the look at hand."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        looked, down = time.monotonic(), False
        while not self._stop.wait(LOOK_S):
            try:
                self._epochs.take(self._ask())
                looked = time.monotonic()
                if down:
                    log.info("changes of rights are known again")
                down = False
            except AppError as error:
                if not down:
                    log.warning("changes of rights are not known", reason=error.reason)
                down = True
            EPOCHS_AGE.set(time.monotonic() - looked)
