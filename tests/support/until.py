"""Wait for what a test expects instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def until(condition: Callable[[], Value], timeout_s: float = 10.0, interval_s: float = 0.05) -> Value:
    """Call `condition` until what it returns is true, and return that.

    Raises AssertionError with the last value (or the last AssertionError of the condition itself, so that it
    may assert) when `timeout_s` seconds were not enough. Any other error of the condition ends the wait at
    once.
    """
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
