"""Run one program as a child that is watched, logged, stopped as a whole, and never outlives its starter."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.account import Account
from deploy.local.errors import LocalError
from deploy.local.health import answers

# A log that grew past this is moved aside once (`<name>.log.1`).
LOG_LIMIT_BYTES = 20_000_000
# What a store gets of our environment: nothing that could point it to somebody else's data.
BARE_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

# Niceness of what stands back: beside one other it gets a quarter of a processor, never nothing.
BACKGROUND = 5


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.05) -> bool:
    """Wait until the condition holds; return whether it did within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True


@dataclass(frozen=True)
class Program:
    """What to run and how one tells that it works.

    `health` is a URL, see health.py. `prepare` runs before every start, in our own process. `ports` are for
    show. `death_signal` is what the kernel sends when we die without a chance to stop it; children of the
    program must end by themselves then. `niceness` (0 to 19) is how far it stands back where processors are
    few.
    """

    name: str
    argv: Sequence[str]
    health: str
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    account: Account | None = None
    cwd: Path = Path("/")
    ports: Mapping[str, int] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    start_timeout_s: float = 180.0
    stop_timeout_s: float = 15.0
    niceness: int = 0


class Process:
    """One running instance of a program.

    Start it in a thread that lives as long as the program shall: the kernel's death signal follows the
    thread.
    """

    def __init__(self, program: Program, log_file: Path) -> None:
        self.program = program
        self.log_file = log_file
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._log_start_bytes = 0

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def alive(self) -> bool:
        return self.pid is not None

    @property
    def exit_code(self) -> int | None:
        """How the last run ended: exit code, or minus the signal; None while it runs or before it ran."""
        return self._child.poll() if self._child else None

    def healthy(self) -> bool:
        """Ask the program whether it works, within a few seconds."""
        return self.alive and answers(self.program.health)

    def spawn(self) -> None:
        """Start the program and return at once; a program that runs is left alone."""
        if self.alive:
            return
        self._stopping = False
        self.program.prepare()
        program = self.program
        self.rotate_log()
        self._log_start_bytes = self.log_file.stat().st_size if self.log_file.exists() else 0
        # setpriv, not preexec_fn: that is not safe beside threads. Dropping privileges clears the death
        # signal, so one tool does both in the right order.
        drop = program.account.command() if program.account else []
        guard = ["setpriv", *drop, f"--pdeathsig={program.death_signal.name.removeprefix('SIG')}"]
        if program.niceness:
            guard = ["nice", "-n", str(program.niceness), *guard]
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                [*guard, *program.argv],
                env=dict(program.env),
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C reaches only the supervisor, which stops all in order.
                start_new_session=True,
                # What they write are people's names, numbers and voices.
                umask=0o077,
            )
        if program.niceness:
            _stand_back(self._child.pid, program.niceness)

    def wait_healthy(self) -> None:
        """Wait for health; raises LocalError with the log's end when the program dies or stays unhealthy."""
        wait_until(lambda: not self.alive or answers(self.program.health), self.program.start_timeout_s)
        if not self.alive:
            raise LocalError(
                f"{self.name} 启动失败 / ended with {self.exit_code} while starting{self.log_tail()}"
            )
        if not answers(self.program.health):
            waited_s = self.program.start_timeout_s
            raise LocalError(f"{self.name} 未就绪 / not healthy after {waited_s:.0f} s{self.log_tail()}")

    def start(self) -> None:
        """Start the program and wait for its health."""
        self.spawn()
        self.wait_healthy()

    def signal_stop(self) -> None:
        """Ask the program to end, once, and return at once."""
        if self._child and self.alive and not self._stopping:
            self._stopping = True
            self._child.send_signal(self.program.stop_signal)

    def stop(self) -> None:
        """Ask the program to end, wait, and kill what is left of it."""
        self.signal_stop()
        wait_until(lambda: not self.alive, self.program.stop_timeout_s)
        self.kill()

    def kill(self) -> None:
        """Kill the program with all its descendants (SIGKILL) and wait until they are gone."""
        child = self._child
        if not child:
            return
        doomed = [child.pid, *descendants(child.pid)] if child.poll() is None else []
        for pid in doomed:
            _kill(os.kill, pid)
        # Also when the leader is gone already: its group may not be.
        _kill(os.killpg, child.pid)
        child.wait()
        wait_until(lambda: all(map(has_ended, doomed)), 5.0)

    def rotate_log(self) -> None:
        """Move a grown log aside; the program goes on writing into the emptied file."""
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.with_suffix(".log.1").write_bytes(self.log_file.read_bytes())
            os.truncate(self.log_file, 0)
            self._log_start_bytes = 0

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of this run's log, indented, and where to read the rest."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start_bytes)
            tail = log.read().decode(errors="replace").splitlines()[-lines:]
        return "".join(f"\n    {line}" for line in tail) + f"\n    ({self.log_file})"


# Told of each process that became healthy: its name and the seconds since its start.
Report = Callable[[str, float], None]


def say_nothing(name: str, seconds: float) -> None:
    """Report to nobody."""


def start_all(processes: Iterable[Process], report: Report = say_nothing) -> None:
    """Start these processes all at once and wait for the health of each.

    Raises LocalError when one dies or stays unhealthy; the others are left running.
    """
    begin = time.monotonic()
    for process in processes:
        process.spawn()
    for process in processes:
        process.wait_healthy()
        report(process.name, time.monotonic() - begin)


def stop_all(processes: Iterable[Process]) -> None:
    """Ask these processes to end, all at once, wait for them, and kill what is left of them."""
    for process in processes:
        process.signal_stop()
    for process in processes:
        process.stop()


def descendants(pid: int) -> list[int]:
    """List the ids of a process's children, their children and so on."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile, and so has no children
    return found


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or only a corpse that nobody has waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def _stand_back(pid: int, niceness: int) -> None:
    """Weigh a session as a whole: where the kernel groups by session, niceness counts only inside of it.

    Source: sched(7), the autogroup feature.
    """
    # No such file: it does not group. No right, or it has ended: it runs as any other.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{niceness}\n")


def _kill(how: Callable[[int, int], None], pid: int) -> None:
    # One that is gone already is what we wanted.
    with contextlib.suppress(ProcessLookupError):
        how(pid, signal.SIGKILL)
