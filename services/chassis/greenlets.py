"""How a greenlet waits for the database while others work.

psycopg's own way that knows nothing of greenlets makes a selector for each answer, which takes a fifth of the time
that an event costs.
"""

from typing import Final

from eventlet.green.select import select
from eventlet.hubs import trampoline
from psycopg import waiting
from psycopg.abc import RV, PQGen

READ: Final = waiting.WAIT_R
WRITE: Final = waiting.WAIT_W


def wait(gen: PQGen[RV], fileno: int, interval: float = 0.0, timeout: float | None = None) -> RV:
    """Take a connection's steps, letting others work until its socket is ready for the next.

    interval: of looks for signals, which are the hub's. timeout: of the last resort only, in seconds.
    """
    if timeout is not None:
        return waiting.wait_selector(gen, fileno, interval, timeout)
    try:
        wanted = next(gen)
        while True:
            if wanted == READ:
                trampoline(fileno, read=True)
                ready = waiting.READY_R
            else:
                # More was sent than a socket takes at once.
                can_read, can_write, _ = select(
                    [fileno] if wanted & READ else [], [fileno] if wanted & WRITE else [], []
                )
                ready = waiting.Ready(
                    (waiting.READY_R if can_read else 0) | (waiting.READY_W if can_write else 0)
                )
            wanted = gen.send(ready)
    except StopIteration as end:
        answer: RV = end.value
        return answer


def let_others_work() -> None:
    """Let every connection of this process, which is eventlet's, wait so."""
    waiting.wait = wait
