"""What tests of the SMS edge stand on: a queue in memory that checks its caller, and the emulator as a
process."""

import contextlib
import heapq
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.local.modem_emulator.control import tell
from deploy.local.modem_emulator.modem import NETWORK_S, Conditions, Modem
from deploy.local.modem_emulator.pdu import Submitted, delivers
from services.telephony.modem import pdu
from services.telephony.modem.engine import LinkLostError
from services.telephony.modem.port import (
    Failure,
    Incoming,
    LinkState,
    Outgoing,
    Report,
    SmsQueue,
    StaleSegmentError,
)
from tests.support.until import until


class Queue(SmsQueue):
    """Keep segments in memory as the telephony service keeps them in its store, and note what must not
    happen.

    The states of a segment: waiting, claimed, intended, then sent, failed or uncertain. One that fails with
    RETRY, LIMITED or SIM waits again behind the others, `retries` times. A breach of the port's rules is kept
    in `breaches`, as an exception in the modem's thread would only close its connection.
    """

    def __init__(self, retries: int = 3) -> None:
        self.segments: dict[str, Outgoing] = {}
        self.states: dict[str, str] = {}
        self.references: dict[str, int | None] = {}
        self.errors: dict[str, list[str]] = {}
        self.reports: dict[str, Report] = {}
        self.messages: dict[str, Incoming] = {}
        self.links: list[tuple[LinkState, str]] = []
        self.signals: list[int | None] = []
        self.breaches: list[str] = []
        self.ages: Sequence[float] = ()
        # How many calls there have been, and what happens at each: a test may raise there.
        self.calls = 0
        self.before_call: Callable[[int], None] = lambda _: None
        # The same, but what the call did stays: its answer is lost.
        self.after_call: Callable[[int], None] = lambda _: None
        self._last: dict[str, Callable[..., None]] = {}
        self._retries = retries
        self._order: list[str] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def put(self, number: str, text: str) -> list[str]:
        """Queue a text; return the ids of its segments, such as 3/1 and 3/2."""
        split, message = pdu.split(text), next(self._numbers)
        segments = [
            Outgoing(
                f"{message}/{part}", number, piece, split.encoding, part, len(split.parts), message % 256
            )
            for part, piece in enumerate(split.parts, 1)
        ]
        with self._lock:
            for segment in segments:
                self.segments[segment.id] = segment
                self.states[segment.id] = "waiting"
                self.errors[segment.id] = []
                self._order.append(segment.id)
        return [segment.id for segment in segments]

    def all_in(self, *states: str) -> bool:
        """Tell whether every segment is in one of these states."""
        return all(state in states for state in self.states.values())

    @property
    def link(self) -> LinkState | None:
        """The last state that the modem has come into."""
        return self.links[-1][0] if self.links else None

    def recover(self) -> None:
        with self._transaction():
            for key, state in self.states.items():
                if state in ("claimed", "intended"):
                    self.states[key] = "waiting" if state == "claimed" else "uncertain"

    def sent_ages(self, window_s: int) -> Sequence[float]:
        with self._transaction():
            return [age_s for age_s in self.ages if age_s <= window_s]

    def next_segment(self) -> Outgoing | None:
        with self._transaction():
            key = next((key for key in self._order if self.states[key] == "waiting"), None)
            if key is None:
                return None
            self.states[key] = "claimed"
            return self.segments[key]

    def before_send(self, segment: Outgoing) -> None:
        with self._move(segment, self.before_send, ("claimed",), "intended"):
            pass

    def sent(self, segment: Outgoing, reference: int | None) -> None:
        with self._move(segment, self.sent, ("intended",), "sent"):
            self.references[segment.id] = reference

    def failed(self, segment: Outgoing, failure: Failure, error: str) -> None:
        again = failure is not Failure.MESSAGE and len(self.errors[segment.id]) < self._retries
        with self._move(segment, self.failed, ("claimed", "intended"), "waiting" if again else "failed"):
            self.errors[segment.id].append(error)
            self._order.remove(segment.id)
            self._order.append(segment.id)

    def uncertain(self, segment: Outgoing, error: str) -> None:
        with self._move(segment, self.uncertain, ("intended",), "uncertain"):
            self.errors[segment.id].append(error)

    def report(self, report: Report) -> None:
        with self._transaction():
            self.reports[report.fingerprint] = report

    def received(self, message: Incoming) -> None:
        with self._transaction():
            self.messages[message.fingerprint] = message

    def signal(self, strength: int | None) -> None:
        self.signals.append(strength)

    def link_changed(self, state: LinkState, detail: str) -> None:
        self.links.append((state, detail))

    @contextlib.contextmanager
    def _move(
        self, segment: Outgoing, call: Callable[..., None], allowed: tuple[str, ...], state: str
    ) -> Iterator[None]:
        with self._transaction():
            if self.states[segment.id] not in allowed:
                # The same call again is one whose answer was lost; any other breaks the rules.
                if self._last.get(segment.id) != call:
                    self.breaches.append(f"{segment.id} from {self.states[segment.id]} to {state}")
                raise StaleSegmentError(segment.id)
            self.states[segment.id] = state
            self._last[segment.id] = call
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.calls += 1
        self.before_call(self.calls)
        with self._lock:
            yield
        self.after_call(self.calls)


class Clock:
    """Be a clock that goes on only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """Connect an engine to the emulator's modem in the same process, in no time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.conditions = Conditions()
        # Every segment that the network has taken, in order.
        self.taken: list[Submitted] = []
        self.plugged = True
        self._output = bytearray()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.modem = Modem(
            conditions=self.conditions,
            write=self._output.extend,
            later=self.later,
            send=self._send,
            unplug=self.unplug,
            now=lambda: datetime(2026, 11, 21, 19, 47, tzinfo=UTC) + timedelta(seconds=self.clock.now),
            report_delay_s=0.2,
        )
        self.modem.plug(True)

    def plug(self) -> None:
        """Plug the modem in again."""
        if not self.plugged:
            self.plugged = True
            self.modem.plug(True)

    def unplug(self) -> None:
        """Break the line."""
        self.plugged = False
        self._output.clear()
        self.modem.plug(False)

    def receive(self, number: str, text: str) -> None:
        """Have the network bring a message."""
        at = datetime(2026, 11, 21, 19, 47, tzinfo=UTC)
        for hex_pdu, octets in delivers(number, text, at, next(self._order)):
            self.modem.deliver(hex_pdu, octets)

    def read(self, timeout_s: float) -> bytes:
        """Return what the modem says until then, and let that much time pass."""
        end = self.clock.now + timeout_s
        while not self._output and self._timers and self._timers[0][0] <= end:
            at, _, action = heapq.heappop(self._timers)
            self.clock.now = max(self.clock.now, at)
            action()
        self._check()
        if not self._output:
            self.clock.now = end
        data = bytes(self._output)
        self._output.clear()
        return data

    def write(self, data: bytes) -> None:
        """Type."""
        self._check()
        self.modem.feed(data)

    def _check(self) -> None:
        if not self.plugged:
            raise LinkLostError("unplugged")

    def say_raw(self, data: bytes) -> None:
        """Put bytes on the line that no modem would say."""
        self._output += data

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something when so much time has passed."""
        heapq.heappush(self._timers, (self.clock.now + delay_s, next(self._order), action))

    def _send(self, submitted: Submitted, _: str) -> int:
        self.taken.append(submitted)
        return len(self.taken) % 256


class Script:
    """Be a modem that follows a script: what is to be written, then what it answers, at once."""

    def __init__(self, *steps: tuple[bytes, bytes]) -> None:
        self.clock = Clock()
        self._steps = list(steps)
        self._written = b""
        self._output = b""

    @property
    def finished(self) -> bool:
        """Tell whether everything was written and read."""
        return not (self._steps or self._output)

    def say(self, data: bytes) -> None:
        """Say something unasked."""
        self._output += data

    def read(self, timeout_s: float) -> bytes:
        """Return the answers so far."""
        data, self._output = self._output, b""
        if not data:
            self.clock.now += timeout_s
        return data

    def write(self, data: bytes) -> None:
        """Compare with the script."""
        self._written += data
        assert self._steps, f"nothing more expected, got {self._written!r}"
        expected, answer = self._steps[0]
        assert expected.startswith(self._written), f"{expected!r} expected, got {self._written!r}"
        if self._written == expected:
            self._steps.pop(0)
            self._written = b""
            self._output += answer


class Answers:
    """Be a modem that knows a fixed answer to each command, and takes any message."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.clock = Clock()
        # Everything asked so far.
        self.asked: list[str] = []
        self._answers = answers
        self._typed = b""
        self._output = b""

    def read(self, timeout_s: float) -> bytes:
        """Return the answers so far."""
        data, self._output = self._output, b""
        if not data:
            self.clock.now += timeout_s
        return data

    def say(self, data: str) -> None:
        """Say something unasked."""
        self._output += data.encode()

    def write(self, data: bytes) -> None:
        """Answer each whole line; what is not known is refused."""
        self._typed += data
        if self._typed.endswith(b"\x1a"):
            self._typed, self._output = b"", self._output + b"\r\n+CMGS: 0\r\n\r\nOK\r\n"
        elif self._typed.endswith(b"\r"):
            command, self._typed = self._typed.strip(b"\x1b\r").decode(), b""
            if command.startswith("AT+CMGS="):
                self._output += b"\r\n> "
            elif command:
                self.asked.append(command)
                self._output += self._answers.get(command, "\r\nERROR\r\n").encode()


@dataclass(frozen=True)
class Emulator:
    """Hold a running modem emulator: where it is, and what it was told and has taken."""

    link: Path
    inbox: Path
    control: Path

    def tell(self, do: str, **arguments: Any) -> Any:
        """Make something happen, see `control.tell`."""
        return tell(self.control, do, **arguments)

    def submitted(self) -> list[dict[str, Any]]:
        """Return every segment that the network has, in order."""
        return list(self.tell("submitted"))


@contextlib.contextmanager
def emulator(
    folder: Path, *, report_delay_s: float = 0.1, network_s: float = NETWORK_S
) -> Iterator[Emulator]:
    """Run a modem emulator whose files are in `folder`."""
    running = Emulator(folder / "modem", folder / "inbox.jsonl", folder / "control")
    arguments = ("--link", running.link, "--inbox", running.inbox, "--control", running.control)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "deploy.local.modem_emulator",
            *arguments,
            "--report-delay-s",
            str(report_delay_s),
            "--network-s",
            str(network_s),
        ]
    )
    try:
        until(running.control.exists)
        yield running
    finally:
        process.terminate()
        process.wait(10)
