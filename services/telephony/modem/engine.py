"""Run AT commands one at a time over a line that also carries whatever the modem says unasked.

Guarantees: an answer is never mixed with an unsolicited line, a late answer is never taken for the next
command's, and a PDU whose Ctrl-Z has been written ends in a reference, a refusal or `AnswerLostError`, never
in silence. Lost when the link fails: the answer under way; the caller learns which of the two sides of Ctrl-Z
it was on.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from services.telephony.modem.commands import SUBMITTED, Command, CommandError, final_result
from services.telephony.modem.framing import PROMPT, Framer, Line

_CTRL_Z = b"\x1a"
_ESCAPE = b"\x1b"
# Modems lose a command that follows too closely on the last result (V.250 asks for 20 to 100 ms).
_GUARD_S = 0.02
# How long a modem may take to ask for the PDU.
_PROMPT_TIMEOUT_S = 10.0
# What may still follow when a modem has already told the reference; some never send that OK.
_LATE_OK_S = 2.0
# A modem at rest answers AT well within this.
_ATTENTION_S = 1.0
# After this much silence nothing of an earlier command is still on its way.
_QUIET_S = 0.3


class LinkLostError(Exception):
    """Say that the connection is gone or the modem does not answer at all."""


class NoAnswerError(Exception):
    """Say that one command stayed unanswered; the line is brought back into step before the next one."""


class AnswerLostError(Exception):
    """Say that Ctrl-Z was written and nobody knows whether the message went out."""


class Transport(Protocol):
    """Move bytes; both methods raise LinkLostError when the device is gone."""

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting for the first byte at most so long; b"" if nothing has."""

    def write(self, data: bytes) -> None:
        """Write everything."""


class Engine:
    """Hold one modem's conversation; all calls from one thread."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        # Everything that was not an answer, oldest first; the session takes it from here between commands.
        self.unsolicited: deque[Line] = deque()
        self._transport = transport
        self._framer = Framer()
        self._lines: deque[Line] = deque()
        self._out_of_step = False
        # When something was last heard.
        self._heard_at = clock() - _GUARD_S

    def run(self, command: Command) -> list[Line]:
        """Run a command and return its answer lines.

        Raises CommandError for a refusal, NoAnswerError after the command's time-out, LinkLostError.
        """
        self._get_ready()
        self._transport.write(command.line.encode() + b"\r")
        answer = []
        deadline = self.clock() + command.timeout_s
        while (line := self._await(deadline)).text != "OK":
            if final_result(line.text):
                raise CommandError(line.text)
            if command.owns(line.text):
                answer.append(line)
            elif line.text != command.line:
                self.unsolicited.append(line)
        return answer

    def submit(
        self,
        pdu: str,
        octets: int,
        before_send: Callable[[], None],
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int | None:
        """Send a PDU and return its TP-MR, or None if the modem told none.

        before_send: called with the whole PDU typed in, just before Ctrl-Z; what it raises cancels the PDU
        and is raised again. timeout_s: how long the network may take; the manuals say 120. meanwhile: called
        while it is at work; raises nothing, as nobody would know then what became of the message. Raises
        CommandError for a refusal, NoAnswerError if no prompt came, LinkLostError if the link failed before
        Ctrl-Z: nothing went out in all three. Raises AnswerLostError for everything that goes wrong after it.
        """
        self._get_ready()
        self._framer.prompt_expected = True
        command = f"AT+CMGS={octets}"
        self._transport.write(command.encode() + b"\r")
        try:
            self._await_prompt(command)
            self._transport.write(pdu.encode())
            before_send()
        except (CommandError, LinkLostError):
            raise
        except BaseException:
            self._transport.write(_ESCAPE)
            self._out_of_step = True
            raise
        finally:
            self._framer.prompt_expected = False
        return self._finish(pdu, timeout_s, meanwhile)

    def listen(self, timeout_s: float) -> None:
        """Wait until the modem says something more unasked, or the time is up."""
        deadline = self.clock() + timeout_s
        heard = len(self.unsolicited)
        while len(self.unsolicited) == heard and (left_s := deadline - self.clock()) > 0:
            self._read_idle(left_s)

    def resync(self) -> None:
        """Bring the modem from any state to where it takes the next command.

        Raises LinkLostError if it does not answer. Leaves a half-typed command or an open prompt, then asks
        twice: the first answer may be a late one.
        """
        self._framer = Framer()
        self._transport.write(_ESCAPE + b"\r")
        self._drain(_QUIET_S)
        answers = 0
        for _ in range(5):
            self._transport.write(b"AT\r")
            answers += self._any_result()
            # That may have been an older command's: let this one's pass.
            self._drain(_QUIET_S)
            if answers == 2:
                self._out_of_step = False
                return
        raise LinkLostError("no answer to AT")

    def _finish(self, pdu: str, timeout_s: float, meanwhile: Callable[[], None]) -> int | None:
        reference = None
        try:
            self._transport.write(_CTRL_Z)
            meanwhile()
            # From here on: an answer that came meanwhile is never too late.
            deadline = self.clock() + timeout_s
            while (line := self._await(deadline)).text != "OK":
                if final_result(line.text):
                    raise CommandError(line.text)
                if submitted := SUBMITTED.match(line.text):
                    reference = int(submitted[1]) & 0xFF
                    deadline = min(deadline, self.clock() + _LATE_OK_S)
                elif line.text != pdu:
                    self.unsolicited.append(line)
        except (NoAnswerError, LinkLostError) as error:
            if reference is None:
                raise AnswerLostError(str(error)) from error
        return reference

    def _await_prompt(self, command: str) -> None:
        deadline = self.clock() + _PROMPT_TIMEOUT_S
        while (line := self._await(deadline)) is not PROMPT:
            if final_result(line.text):
                raise CommandError(line.text)
            if line.text != command:
                self.unsolicited.append(line)

    def _await(self, deadline: float) -> Line:
        while not self._lines:
            if (left_s := deadline - self.clock()) <= 0:
                self._out_of_step = True
                raise NoAnswerError("the modem did not answer in time")
            self._lines.extend(self._framer.feed(self._read(left_s)))
        return self._lines.popleft()

    def _any_result(self) -> bool:
        """Tell whether any final result comes; ERROR will do, some modems refuse a bare AT."""
        deadline = self.clock() + _ATTENTION_S
        try:
            while not final_result((line := self._await(deadline)).text):
                self._keep(line)
        except NoAnswerError:
            return False
        return True

    def _get_ready(self) -> None:
        if self._out_of_step:
            self.resync()
        # What the caller did since then counts.
        self._drain(max(0.0, self._heard_at + _GUARD_S - self.clock()))

    def _read(self, timeout_s: float) -> bytes:
        data = self._transport.read(timeout_s)
        if data:
            self._heard_at = self.clock()
        return data

    def _drain(self, quiet_s: float) -> None:
        """Take in what comes until the line is quiet; a modem that never is gets ten times as long.

        Final results are late answers to something given up: dropped.
        """
        end = self.clock() + 10 * quiet_s
        while self._read_idle(quiet_s) and self.clock() < end:
            pass

    def _read_idle(self, timeout_s: float) -> bool:
        """Take in what comes, and tell whether anything did."""
        data = b"" if self._lines else self._read(timeout_s)
        self._lines.extend(self._framer.feed(data))
        taken = bool(data or self._lines)
        while self._lines:
            self._keep(self._lines.popleft())
        return taken

    def _keep(self, line: Line) -> None:
        if not final_result(line.text) and line is not PROMPT:
            self.unsolicited.append(line)
