"""Everything that a line and a modem do to a message on its way: one fate, never two sendings, recovery by itself.

The emulator's modem in the same process, by a clock that only waiting moves; between it and the engine stands a line
that breaks at a given byte, swallows, garbles or stalls. The network's own list says how often each text left.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from deploy.local.modem_emulator.modem import Fault
from services.telephony.modem.engine import LinkLostError, NoAnswerError
from services.telephony.modem.session import SimStoppedError
from tests.support.modem import Wire
from tests.unit.telephony.modem.test_session import FIRST, SECOND, Bench

DONE = ("sent", "uncertain", "failed")


class BrittleWire(Wire):
    """Be a line that breaks after so many bytes, both ways counted together, from the first AT+CMGS on."""

    def __init__(self, breaks_at: int) -> None:
        super().__init__()
        self.left = breaks_at
        # Whether a message was begun, and whether Ctrl-Z got through before the break.
        self.begun = False
        self.committed = False
        self.broken = False
        self._unread = b""

    def write(self, data: bytes) -> None:
        self.begun = self.begun or data.startswith(b"AT+CMGS=")
        if not self.begun or self.broken:
            super().write(data)
            return
        passed = self._pass(data)
        self.committed = self.committed or b"\x1a" in passed
        super().write(passed)
        if len(passed) < len(data):
            self._break()
            raise LinkLostError("unplugged in the middle of a write")

    def read(self, timeout_s: float) -> bytes:
        data = super().read(timeout_s)
        if not self.begun or self.broken:
            return data
        passed = self._pass(data)
        if len(passed) < len(data):
            self._break()
        return passed

    def _pass(self, data: bytes) -> bytes:
        passed = data[: self.left]
        self.left -= len(passed)
        return passed

    def _break(self) -> None:
        self.broken = True
        self.unplug()


def run_until_done(bench: Bench) -> None:
    """Open one session after another, plugged in again each time, as the link does."""
    for _ in range(12):
        bench.wire.plug()
        with contextlib.suppress(LinkLostError, NoAnswerError, SimStoppedError):
            bench.session(lambda: bench.queue.all_in(*DONE))
            return
    pytest.fail(f"never done: {bench.queue.states}")


def left(bench: Bench) -> list[str]:
    return [taken.text for taken in bench.wire.taken]


def test_unplugged_at_each_byte_of_a_dialogue_a_text_leaves_once_at_most_and_the_next_one_goes_out() -> None:
    """F199: at every byte of AT+CMGS, prompt, PDU, Ctrl-Z, reference and OK; certain wherever it can be."""
    lengths = 0
    for breaks_at in range(1000):
        bench = Bench()
        wire = BrittleWire(breaks_at)
        bench.wire = wire
        (first,) = bench.queue.put(FIRST, "拔在哪里都只发一次")
        run_until_done(bench)
        whole = not wire.broken
        (second,) = bench.queue.put(SECOND, "之后的照常发出")
        wire.left = 10_000
        run_until_done(bench)
        texts = left(bench)
        assert len(texts) == len(set(texts)), f"twice, unplugged at byte {breaks_at}"
        assert bench.queue.states[second] == "sent"
        # Before Ctrl-Z nothing is in doubt, but for the byte between the durable intent and it.
        assert bench.queue.states[first] in ("sent", "uncertain")
        if bench.queue.states[first] == "sent":
            assert "拔在哪里都只发一次" in texts
        if whole:
            lengths = breaks_at
            break
    # The whole dialogue was walked through: command, prompt, PDU of 9 characters, answer.
    assert lengths > 100


def test_unplugged_before_the_intent_a_text_still_goes_out() -> None:
    """Up to the last character of the PDU it is certain that nothing left: it goes out with the next connection."""
    certain = 0
    for breaks_at in range(1000):
        bench = Bench()
        wire = BrittleWire(breaks_at)
        bench.wire = wire
        (segment,) = bench.queue.put(FIRST, "意图之前")
        run_until_done(bench)
        if bench.queue.states[segment] == "uncertain":
            break
        assert left(bench) == ["意图之前"]
        certain += 1
    # AT+CMGS=nn, the prompt and the whole PDU.
    assert certain > 60
    assert not wire.committed


class TwistedWire(Wire):
    """Be a line on which something happens to what goes either way; `to` and `back` change what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.to: Callable[[bytes], bytes] = lambda data: data
        self.back: Callable[[bytes], bytes] = lambda data: data

    def write(self, data: bytes) -> None:
        super().write(self.to(data))

    def read(self, timeout_s: float) -> bytes:
        return self.back(super().read(timeout_s))


def once(twist: Callable[[bytes], bytes | None]) -> Callable[[bytes], bytes]:
    """Return a twist that works on the first data it knows, and never again; None from it: not this one."""
    spent = False

    def change(data: bytes) -> bytes:
        nonlocal spent
        if spent or not data:
            return data
        try:
            changed = twist(data)
        except LinkLostError:
            spent = True
            raise
        spent = changed is not None
        return data if changed is None else changed

    return change


def no_prompt(wire: TwistedWire) -> None:
    wire.back = once(lambda data: data.replace(b"> ", b"") if b"> " in data else None)


def late_ok(wire: TwistedWire) -> None:
    """The OK behind a reference comes a minute later, where the next command waits for its own."""

    def hold(data: bytes) -> bytes | None:
        if b"+CMGS:" not in data:
            return None
        wire.later(60, lambda: wire.modem.say("OK"))
        return re.sub(rb"\r\nOK\r\n$", b"", data)

    wire.back = once(hold)


def no_ok(wire: TwistedWire) -> None:
    wire.back = once(lambda data: re.sub(rb"\r\nOK\r\n$", b"", data) if b"+CMGS:" in data else None)


def storm(wire: TwistedWire) -> None:
    for turn in range(4000):
        wire.later(turn * 0.005, lambda: wire.modem.say('+CREG: 1,"1A2B","00C3"'))


def sim_removed(wire: TwistedWire) -> None:
    """Refused with `SIM not inserted`, and gone for a while when the modem is opened again."""
    wire.conditions.faults.append(Fault(cms_error=310))
    wire.later(3, lambda: setattr(wire.conditions, "sim", "NOT READY"))
    wire.later(20, lambda: setattr(wire.conditions, "sim", "READY"))


def memory_full(wire: TwistedWire) -> None:
    wire.modem.fill()


def reset(wire: TwistedWire) -> None:
    """The modem restarts while it is being told the PDU: prompt and settings are gone."""

    def restart(data: bytes) -> bytes | None:
        if b"+CMGS" in data or data in (b"\x1a", b"\x1b") or not re.fullmatch(rb"[0-9A-F]{20,}", data):
            return None
        wire.modem.plug(True)
        wire.modem.say("RDY")
        return b""

    wire.to = once(restart)


def reset_after_commit(wire: TwistedWire) -> None:
    """The modem restarts as the message is with the network, before it can say so."""
    wire.conditions.faults.append(Fault(accepted=True))
    wire.later(30, lambda: wire.modem.say("RDY"))


def stuck_write(wire: TwistedWire) -> None:
    """The device takes nothing any more, in the middle of a PDU: pyserial gives up after five seconds."""

    def stick(data: bytes) -> bytes | None:
        if not re.fullmatch(rb"[0-9A-F]{20,}", data):
            return None
        wire.clock.now += 5
        raise LinkLostError("Write timeout")

    wire.to = once(stick)


def stuck_commit(wire: TwistedWire) -> None:
    """The same at Ctrl-Z itself: nobody can know whether it got through."""

    def stick(data: bytes) -> bytes | None:
        if data != b"\x1a":
            return None
        wire.clock.now += 5
        raise LinkLostError("Write timeout")

    wire.to = once(stick)


def wrong_echo(wire: TwistedWire) -> None:
    """The modem echoes in spite of ATE0, and garbles what it echoes."""

    def echo(data: bytes) -> bytes:
        if data.startswith(b"AT+CMGS") or re.fullmatch(rb"[0-9A-F]{20,}", data):
            wire.say_raw(data.replace(b"0", b"O") + b"\r\n")
        return data

    wire.to = echo


@dataclass(frozen=True)
class Case:
    """Name a fault, and say how many messages it may leave unknown."""

    fault: Callable[[TwistedWire], None]
    doubtful: int = 0


CASES = [
    Case(no_prompt),
    Case(late_ok),
    Case(no_ok),
    Case(storm),
    Case(sim_removed),
    Case(memory_full),
    Case(reset, doubtful=1),
    Case(reset_after_commit, doubtful=1),
    Case(stuck_write),
    Case(stuck_commit, doubtful=1),
    Case(wrong_echo),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault.__name__)
def test_whatever_a_modem_does_each_text_has_one_fate_and_the_queue_goes_on(case: Case) -> None:
    """Each fault strikes the first of several messages; the modem comes back by itself, and all others go out."""
    bench = Bench()
    wire = TwistedWire()
    bench.wire = wire
    case.fault(wire)
    for number in range(3):
        bench.queue.put(FIRST, f"第{number}条")
    bench.queue.put(SECOND, "很长的提醒，" * 20)
    run_until_done(bench)
    pieces = [(taken.text, taken.part) for taken in wire.taken]
    assert len(pieces) == len(set(pieces))
    states = list(bench.queue.states.values())
    assert states.count("uncertain") <= case.doubtful
    assert states.count("sent") >= len(states) - case.doubtful
    assert "failed" not in states
    # Sent means that the network has it.
    sent = {bench.queue.segments[key].text for key, state in bench.queue.states.items() if state == "sent"}
    assert sent <= {text for text, _ in pieces}
