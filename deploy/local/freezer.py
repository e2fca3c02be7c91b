"""Let processes stand still for a moment, and go on whatever becomes of us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from deploy.local.process import descendants, wait_until

# How long the last of them may take to stand still, in seconds.
PATIENCE_S: Final = 5.0

# Reads process ids until we end or die, and lets all go on then.
_GUARD: Final = """
import os, signal, sys
for pid in [int(line) for line in sys.stdin]:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
"""


@contextlib.contextmanager
def standing_still(pids: Sequence[int]) -> Iterator[None]:
    """Freeze these processes and all that they have started (SIGSTOP), in this order; they go on at the end.

    They go on as well when we are killed meanwhile. Raises TimeoutError when one does not stand still.
    """
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True
    )
    assert guard.stdin is not None  # noqa: S101 - it was asked for
    frozen: set[int] = set()
    try:
        for root in pids:
            # Whoever stands still starts no more, from the root down.
            while news := [pid for pid in (root, *descendants(root)) if pid not in frozen]:
                guard.stdin.write("".join(f"{pid}\n" for pid in news))
                guard.stdin.flush()
                for pid in news:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                frozen |= set(news)
        if not wait_until(lambda: all(map(_stands, frozen)), PATIENCE_S):
            raise TimeoutError("a process does not stand still")
        yield
    finally:
        # Its end of the pipe closes: it lets all go on.
        guard.stdin.close()
        guard.wait()


def _stands(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "TtZX"
