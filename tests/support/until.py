"""Wait for what a test expects instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

# A bound says that something hangs, never how fast it is: on a machine with other work everything takes longer.
PATIENCE = 3.0


def until(condition: Callable[[], Value], timeout_s: float = 10.0, interval_s: float = 0.05) -> Value:
    """Call `condition` until what it returns is true, and return that.

    timeout_s: ample on a machine with nothing else to do. Raises AssertionError with the last value (or the last
    AssertionError of the condition itself, so that it may assert) when PATIENCE times as long was not enough. Any
    other error of the condition ends the wait at once.
    """
    timeout_s *= PATIENCE
    deadline = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        value: Value | None = None
        try:
            value = condition()
        except AssertionError as error:
            failure = error
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; last value: {value!r}") from failure
        time.sleep(interval_s)


async def soon(condition: Callable[[], object], timeout_s: float = 20.0, interval_s: float = 0.01) -> None:
    """Wait for `condition` in an event loop, as `until` does in a thread; raises TimeoutError."""
    async with asyncio.timeout(timeout_s * PATIENCE):
        while not condition():
            await asyncio.sleep(interval_s)
