"""Put the modem on a pty, give it time and a network, and let tests tell it what goes wrong."""

import contextlib
import heapq
import itertools
import json
import os
import selectors
import socket
import sys
import time
import tty
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from deploy.local.modem_emulator import pdu
from deploy.local.modem_emulator.modem import Conditions, Fault, Modem
from deploy.local.modem_emulator.pdu import Submitted

# What a program that does not read gets to read later; more is lost, as on a real line.
_OUTPUT_BYTES = 1 << 16
# A control request is one line of JSON.
_REQUEST_BYTES = 1 << 16


class Emulator:
    """Run one modem on a pty at `link` until the process is told to end."""

    def __init__(
        self, link: Path, inbox: Path | None, control: Path | None, report_delay_s: float, network_s: float
    ) -> None:
        self._conditions = Conditions()
        self._network = Network(inbox)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._line = Line(link, self._selector)
        self._control = control
        self._modem = Modem(
            conditions=self._conditions,
            write=self._line.write,
            later=self._later,
            send=self._network.take,
            unplug=self._unplug,
            now=lambda: datetime.now().astimezone(),
            report_delay_s=report_delay_s,
            network_s=network_s,
        )

    def run(self) -> None:
        """Serve until an exception, such as the one a signal raises; leaves nothing behind."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._network.close)
            stack.callback(self._line.close)
            self._plug()
            if self._control:
                stack.enter_context(self._listen(self._control))
            print(f"modem emulator on {self._line.link} ({self._line.device})", flush=True)
            while True:
                self._serve()

    def _serve(self) -> None:
        wait_s = max(self._timers[0][0] - time.monotonic(), 0) if self._timers else None
        for key, events in self._selector.select(wait_s):
            key.data(events)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), action))

    def _plug(self) -> None:
        self._line.open(self._modem.feed)
        self._modem.plug(True)

    def _unplug(self) -> None:
        self._line.close()
        self._modem.plug(False)

    # --- control

    @contextlib.contextmanager
    def _listen(self, path: Path) -> Any:
        # Under its name only when it takes requests: whoever sees it can ask.
        unready = path.with_name(path.name + ".new")
        unready.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(unready))
            unready.chmod(0o600)
            server.listen()
            unready.replace(path)
            self._selector.register(server, selectors.EVENT_READ, lambda _: self._obey(server))
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def _obey(self, server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            # The one who asks is a test on this machine; still it may not hold up the modem for ever.
            connection.settimeout(1.0)
            try:
                answer = self._do(**json.loads(stream.readline(_REQUEST_BYTES)))
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                answer = {"error": repr(error)}
            with contextlib.suppress(OSError):
                stream.write(json.dumps(answer) + "\n")
                stream.flush()

    def _do(self, do: str, **arguments: Any) -> dict[str, Any]:
        actions: dict[str, Callable[..., Any]] = {
            "fault": lambda **fields: self._conditions.faults.append(Fault(**fields)),
            "set": self._set,
            "plug": self._plug,
            "unplug": self._unplug,
            "fill": self._modem.fill,
            "say": self._say,
            "receive": self._receive,
            "receive_pdu": self._modem.deliver,
            "submitted": lambda: self._network.submitted,
            "faults": lambda: len(self._conditions.faults),
            "restarts": lambda: self._modem.restarts,
        }
        return {"result": actions[do](**arguments)}

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            if name not in ("sim", "registration", "report_status"):
                raise KeyError(name)
            setattr(self._conditions, name, value)

    def _say(self, line: str, count: int = 1, every_s: float = 0.01) -> None:
        for turn in range(count):
            self._later(turn * every_s, lambda: self._modem.say(line))

    def _receive(self, number: str, text: str) -> None:
        for hex_pdu, octets in pdu.delivers(number, text, datetime.now().astimezone(), next(self._order)):
            self._modem.deliver(hex_pdu, octets)


class Line:
    """Hold the pty: its own end, and the link by which others find theirs."""

    def __init__(self, link: Path, selector: selectors.BaseSelector) -> None:
        self.link = link
        self.device = ""
        self._selector = selector
        self._ends: tuple[int, int] | None = None
        self._output = bytearray()

    def open(self, feed: Callable[[bytes], None]) -> None:
        """Make a pty and point the link at it; a link left by an earlier run is replaced, a file is not."""
        if self._ends:
            return
        if self.link.exists() and not self.link.is_symlink():
            raise FileExistsError(f"{self.link} is not a link")
        # The other end stays open here too: programs come and go without a hang-up.
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ends, self.device = (ours, theirs), os.ttyname(theirs)
        self.link.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.link.with_name(self.link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.device)
        fresh.replace(self.link)
        self._selector.register(ours, selectors.EVENT_READ, lambda events: self._ready(events, feed))

    def close(self) -> None:
        """Hang up: whoever has the other end open is told by the kernel."""
        if not self._ends:
            return
        with contextlib.suppress(OSError):
            if os.readlink(self.link) == self.device:
                self.link.unlink()
        self._selector.unregister(self._ends[0])
        for end in self._ends:
            os.close(end)
        self._ends = None
        self._output.clear()

    def write(self, data: bytes) -> None:
        """Write when the other side reads; nothing while unplugged."""
        if self._ends and len(self._output) < _OUTPUT_BYTES:
            self._output += data
            self._flush(self._ends[0])

    def _ready(self, events: int, feed: Callable[[bytes], None]) -> None:
        if not self._ends:
            return
        if events & selectors.EVENT_WRITE:
            self._flush(self._ends[0])
        if events & selectors.EVENT_READ:
            with contextlib.suppress(OSError):
                feed(os.read(self._ends[0], 4096))

    def _flush(self, ours: int) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._output[: os.write(ours, self._output)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._output else 0)
        self._selector.modify(ours, wanted, self._selector.get_key(ours).data)


class Network:
    """Take segments, number them, and write each whole message to the inbox as one line of JSON."""

    def __init__(self, inbox: Path | None) -> None:
        # Each segment in order, with its time and hex, for whoever wants to check that none came twice.
        self.submitted: list[dict[str, Any]] = []
        self._inbox: TextIO | None = None
        if inbox:
            inbox.parent.mkdir(parents=True, exist_ok=True)
            self._inbox = inbox.open("a", encoding="utf-8")
        self._partial: dict[tuple[str, int, int], dict[int, tuple[Submitted, int]]] = {}

    def take(self, segment: Submitted, hex_pdu: str) -> int:
        """Accept a segment; return its reference, 1 to 255 and round again from 0."""
        reference = (len(self.submitted) + 1) % 256
        self.submitted.append(
            {
                "time": _now(),
                "number": segment.number,
                "reference": reference,
                "validity": segment.validity,
                "pdu": hex_pdu,
            }
        )
        key = (segment.number, segment.group, segment.parts)
        if segment.part in self._partial.get(key, {}):
            # The same part again: the first message stays in pieces, and both show.
            self._write(self._partial.pop(key), complete=False)
        pieces = self._partial.setdefault(key, {})
        pieces[segment.part] = segment, reference
        if len(pieces) == segment.parts:
            self._write(self._partial.pop(key), complete=True)
        return reference

    def close(self) -> None:
        """Write what is still in pieces, and close the inbox."""
        for pieces in self._partial.values():
            self._write(pieces, complete=False)
        if self._inbox:
            self._inbox.close()

    def _write(self, pieces: dict[int, tuple[Submitted, int]], *, complete: bool) -> None:
        if not self._inbox:
            return
        ordered = [pieces[part] for part in sorted(pieces)]
        text = "".join(segment.text for segment, _ in ordered)
        message = {
            "time": _now(),
            "number": ordered[0][0].number,
            # Halves of a surrogate pair from two segments become one character; a lone one is shown as lost.
            "text": text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
            "parts": ordered[0][0].parts,
            "complete": complete,
            "references": [reference for _, reference in ordered],
        }
        try:
            print(json.dumps(message, ensure_ascii=False), file=self._inbox, flush=True)
        except OSError as error:
            print(f"modem emulator: inbox not written: {error}", file=sys.stderr, flush=True)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
