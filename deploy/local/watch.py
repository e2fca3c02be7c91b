"""Start again what dies, each time a little later."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.local.errors import LocalError
from deploy.local.process import Process

# Seconds until the first new start; it doubles with each further one, up to the longest.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# Who has run for so long has recovered, and starts from the first pause when it dies again.
RECOVERED_S = 60.0
# How often we look.
INTERVAL_S = 0.2
# How often grown logs are moved aside.
LOGS_INTERVAL_S = 60.0


@dataclass
class Record:
    """What the watch remembers of one process."""

    started: float
    deaths: int = 0
    restarts: int = 0
    due: float | None = None
    held: bool = False


class Watch:
    """Watches processes from a thread of its own; `say` is told of each death, `changed` of each new start.

    The thread lives until `end`: the kernel takes what a thread has started along with that thread.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        say: Callable[[str], None] = lambda line: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._processes = {process.name: process for process in processes}
        now = time.monotonic()
        self._records = {name: Record(started=now) for name in self._processes}
        self._say, self._changed = say, changed
        self._lock = threading.Lock()
        self._paused = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def pause(self) -> None:
        """Start nothing again from now on; on return no start is under way."""
        with self._lock:
            self._paused = True

    def end(self) -> None:
        """End the thread, and with it whatever it started that still runs."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def hold(self, name: str) -> None:
        """Leave this process down when it dies, until `release`."""
        with self._lock:
            self._records[name].held = True

    def release(self, name: str) -> None:
        """Start this process again as soon as it is found dead."""
        with self._lock:
            self._records[name] = Record(started=0.0, restarts=self._records[name].restarts)

    def restarts(self, name: str) -> int:
        """How often this process was started again."""
        return self._records[name].restarts

    def _run(self) -> None:
        next_logs = time.monotonic() + LOGS_INTERVAL_S
        while not self._ended.wait(INTERVAL_S):
            now = time.monotonic()
            for name, process in self._processes.items():
                with self._lock:
                    if not self._paused:
                        # A disk that is full now may have room again later: the watch itself must not end.
                        try:
                            self._look_at(process, self._records[name], now)
                        except (LocalError, OSError) as error:
                            self._say(f"{name}: {error}")
            if now > next_logs:
                next_logs = now + LOGS_INTERVAL_S
                self._rotate_logs()

    def _rotate_logs(self) -> None:
        for process in self._processes.values():
            try:
                process.rotate_log()
            except OSError as error:
                self._say(f"{process.log_file}: {error}")

    def _look_at(self, process: Process, record: Record, now: float) -> None:
        if process.alive:
            if record.deaths and now - record.started > RECOVERED_S:
                record.deaths = 0
        elif record.held:
            return
        elif record.due is None:
            record.deaths += 1
            # A child that was killed may have left children of its own.
            process.kill()
            jitter = random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (record.deaths - 1)) * jitter
            record.due = now + pause_s
            self._say(
                f"{process.name} 已退出 / ended ({process.exit_code}), "
                f"{pause_s:.1f} 秒后重启 / again in {pause_s:.1f} s: {process.log_file}"
            )
        elif now >= record.due:
            record.due, record.started = None, now
            record.restarts += 1
            process.spawn()
            self._changed()
