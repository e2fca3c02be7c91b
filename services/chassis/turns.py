"""Taking turns: what is all computing goes through faster a few at a time, and in the order in which it came.

Sixteen threads that compute at once take Python's lock from each other at every answer of the database, and each is
done as late as the last.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Lets so many in at once, the others in the order of their coming; thread-safe."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        # Of each who waits a lock that is held until its turn comes.
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and have it."""
        mine = threading.Lock()
        with self._lock:
            if self._free:
                self._free -= 1
            else:
                mine.acquire()
                self._waiting.append(mine)
        # Whoever goes passes the turn on to who waits longest, so nobody comes between.
        with mine:
            try:
                yield
            finally:
                with self._lock:
                    if self._waiting:
                        self._waiting.popleft().release()
                    else:
                        self._free += 1
