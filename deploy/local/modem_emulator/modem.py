"""Behave as a GSM modem does on its serial line: AT commands in, answers and unsolicited lines out.

No I/O and no clock of its own: bytes, timers and the network come in as arguments. The dialect is that of
3GPP TS 27.005 and 27.007 as far as gammu, smstools and the telephony service use it; the rest is refused as a
real modem refuses it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from deploy.local.modem_emulator import pdu
from deploy.local.modem_emulator.pdu import BadPduError, Submitted

_ESCAPE, _CTRL_Z = 0x1B, 0x1A
# Messages that one memory holds.
_CAPACITY = 50
# How long the network takes over a segment; over the air it is some three seconds.
NETWORK_S = 0.05
# +CMS ERROR: operation not supported, invalid PDU, invalid index, memory full.
_NOT_SUPPORTED, _INVALID_PDU, _INVALID_INDEX, _MEMORY_FULL = 303, 304, 321, 322

_FIXED = {
    "+CGMI": "GONGHAI",
    "+CGMM": "MODEM EMULATOR",
    "+CGMR": "1.0",
    "+CGSN": "861234567890123",
    "+CIMI": "460001234567890",
    "+GMM": "MODEM EMULATOR",
    "+CSQ": "+CSQ: 21,99",
    "+CGATT?": "+CGATT: 1",
    "+COPS?": '+COPS: 0,0,"EMULATED",7',
    "+CSCS?": '+CSCS: "GSM"',
    "+CSCS=?": '+CSCS: ("GSM","UCS2","IRA","HEX")',
    "+CSMS?": "+CSMS: 0,1,1,1",
    "+CSMS=?": "+CSMS: (0,1)",
    "+CPMS=?": '+CPMS: ("SM","ME"),("SM","ME"),("SM","ME")',
    "+CNMI=?": "+CNMI: (0-3),(0-3),(0,2),(0-2),(0,1)",
    "+CMGF=?": "+CMGF: (0)",
    "+CMGF?": "+CMGF: 0",
    "+CMGL=?": "+CMGL: (0-4)",
    "+CFUN?": "+CFUN: 1",
    "I": "MODEM EMULATOR",
}
# Taken and without effect.
_ACCEPTED = re.compile(
    r"|Z|&F|V1|Q0|X\d|\+CMGF=0|\+CMGS=\?|\+CNMA(=0)?|\+CSMS=[01]|\+CSCS=.*|\+CREG=[012]|\+CGREG=[012]|\+CMMS=[012]"
    r"|\+CFUN=1(,0)?|\+CSMP=.*|\+CUSD=[02]|\+IFC=.*|\+CSDH=.*"
)


class _RefusedError(Exception):
    """End a command with an error: +CMS ERROR by number, or None for what is not known at all."""

    def __init__(self, cms_error: int | None = None) -> None:
        super().__init__(cms_error)
        self.cms_error = cms_error


@dataclass
class Stored:
    """Hold what a memory keeps: a message or a report, and whether it was listed."""

    pdu: str
    octets: int
    read: bool = False


@dataclass
class Fault:
    """Say what goes wrong with the next segments.

    cms_error: refuse with it; else no answer comes, and with unplug the line breaks. number: only to this
    one. accepted: the network has it all the same. count: how many times.
    """

    cms_error: int | None = None
    number: str | None = None
    accepted: bool = False
    unplug: bool = False
    count: int = 1


@dataclass
class Conditions:
    """Hold what tests change: the SIM's and the network's state, and how reports turn out (None: none come)."""

    sim: str = "READY"
    registration: int = 1
    report_status: int | None = 0
    faults: list[Fault] = field(default_factory=list)


class Modem:
    """Be one modem with its SIM, plugged in or not.

    conditions: looked at anew each time. write: to the serial line. later: call back after so many seconds.
    send: hand a segment and its hex to the network, which returns the reference. unplug: break the line.
    """

    def __init__(
        self,
        *,
        conditions: Conditions,
        write: Callable[[bytes], None],
        later: Callable[[float, Callable[[], None]], None],
        send: Callable[[Submitted, str], int],
        unplug: Callable[[], None],
        now: Callable[[], datetime],
        report_delay_s: float,
        network_s: float = NETWORK_S,
    ) -> None:
        # How often it was told to restart.
        self.restarts = 0
        self._memories: dict[str, dict[int, Stored]] = {"SM": {}, "ME": {}}
        # What the network has for the SIM and could not bring yet: whether it is a report, hex, octets.
        self._undelivered: list[tuple[bool, str, int]] = []
        self._plugged = False
        self._conditions = conditions
        self._write = write
        self._later = later
        self._send = send
        self._unplug = unplug
        self._now = now
        self._report_delay_s = report_delay_s
        self._network_s = network_s
        self._reset()

    def plug(self, plugged: bool) -> None:
        """Say whether there is power and a line; switched on, a modem knows only its defaults."""
        self._plugged = plugged
        self._reset()
        self._bring()

    def stored(self) -> int:
        """Count what all memories keep."""
        return sum(len(memory) for memory in self._memories.values())

    def fill(self) -> None:
        """Fill the memory where messages arrive."""
        hex_pdu, octets = pdu.delivers("10086", "满", self._now(), 0)[0]
        memory = self._memories[self._used[2]]
        for index in range(1, _CAPACITY + 1):
            memory.setdefault(index, Stored(hex_pdu, octets))

    def _reset(self) -> None:
        self._echo = True
        self._errors = 0
        self._service_centre = f'"{pdu.SERVICE_CENTRE}",145'
        self._used = ["SM", "SM", "SM"]
        self._indications = [0, 0, 0, 0, 0]
        self._typed = bytearray()
        self._announced: int | None = None
        self._busy = False
        self._waiting = bytearray()
        self._held: list[str] = []

    def feed(self, data: bytes) -> None:
        """Take what was typed."""
        self._waiting += data
        while self._waiting and not self._busy:
            octet = self._waiting.pop(0)
            if self._announced is not None:
                self._type_pdu(octet, self._announced)
            else:
                self._type_command(octet)

    def say(self, line: str) -> None:
        """Say something unasked; while a prompt is open it waits, as on a real modem."""
        if self._announced is not None:
            self._held.append(line)
        else:
            self._answer(line)

    def deliver(self, pdu: str, octets: int) -> None:
        """Take a message from the network, at once or when the modem can."""
        self._undelivered.append((False, pdu, octets))
        self._bring()

    def _report(self, submitted: Submitted, reference: int, sent: datetime) -> None:
        status = self._conditions.report_status
        if status is not None:
            self._undelivered.append((True, *pdu.report(submitted, reference, sent, self._now(), status)))
            self._bring()

    def _bring(self) -> None:
        """Store or show what the network has, as AT+CNMI asks; the rest stays with the network."""
        waiting, self._undelivered = self._undelivered, []
        for is_report, hex_pdu, octets in waiting:
            routing = self._indications[3 if is_report else 1]
            memory = self._memories[self._used[2]]
            free = next((index for index in range(1, _CAPACITY + 1) if index not in memory), None)
            if not self._plugged or (is_report and routing == 0):
                self._undelivered.append((is_report, hex_pdu, octets))
            elif is_report and routing == 1:
                self.say(f"+CDS: {octets}\r\n{hex_pdu}")
            elif not is_report and routing == 2:
                self.say(f"+CMT: ,{octets}\r\n{hex_pdu}")
            elif free is None:
                self._undelivered.append((is_report, hex_pdu, octets))
            else:
                memory[free] = Stored(hex_pdu, octets)
                if routing:
                    self.say(f'{"+CDSI" if is_report else "+CMTI"}: "{self._used[2]}",{free}')

    # --- what is typed

    def _type_command(self, octet: int) -> None:
        if octet == _ESCAPE:
            self._typed.clear()
            return
        if octet == 0x0A:
            return
        if self._echo:
            self._write(bytes((octet,)))
        if octet != 0x0D:
            self._typed.append(octet)
            return
        line, self._typed = self._typed.decode("latin-1").strip(), bytearray()
        # What is not addressed to a modem is not answered.
        if line[:2].upper() == "AT":
            self._run(line[2:])

    def _run(self, line: str) -> None:
        """Run one line of commands, `AT+A;+B`; the first that is refused ends it (V.250 5.2)."""
        try:
            for command in re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', line):
                if (sending := re.fullmatch(r"\+CMGS=(\d+)", command, re.IGNORECASE)) is not None:
                    self._announced = int(sending[1])
                    self._write(b"\r\n> ")
                    return
                self._command(command.strip())
        except _RefusedError as refused:
            self._refuse(refused.cms_error)
        else:
            self._answer("OK")
        self._bring()

    def _command(self, command: str) -> None:
        name = command.upper()
        if (answer := self._known(name)) is not None:
            self._answer(answer)
        elif name in ("E0", "E1"):
            self._echo = name == "E1"
        elif name == "+CFUN=1,1":
            self.restarts += 1
            self._reset()
        elif (level := re.fullmatch(r"\+CMEE=([012])", name)) is not None:
            self._errors = int(level[1])
        elif name.startswith('+CSCA="'):
            self._service_centre = command[len("+CSCA=") :]
        elif name.startswith("+CNMI"):
            self._command_indications(name)
        elif name.startswith("+CPMS"):
            self._command_memories(name)
        elif name.startswith(("+CMGL", "+CMGR=", "+CMGD=")):
            self._command_messages(name)
        elif not _ACCEPTED.fullmatch(name):
            raise _RefusedError(_NOT_SUPPORTED if name.startswith("+CMGF=") else None)

    def _known(self, name: str) -> str | None:
        """Answer what is only a question."""
        changing = {
            "+CMEE?": f"+CMEE: {self._errors}",
            "+CPIN?": f"+CPIN: {self._conditions.sim}",
            "+CREG?": f"+CREG: 0,{self._conditions.registration}",
            "+CGREG?": f"+CGREG: 0,{self._conditions.registration}",
            "+CSCA?": f"+CSCA: {self._service_centre}",
        }
        return changing.get(name, _FIXED.get(name))

    def _command_indications(self, name: str) -> None:
        if name == "+CNMI?":
            self._answer("+CNMI: " + ",".join(map(str, self._indications)))
            return
        wanted = re.fullmatch(r"\+CNMI=([0-3])(?:,([0-3]?))?(?:,([02]?))?(?:,([0-2]?))?(?:,([01]?))?", name)
        if wanted is None:
            raise _RefusedError(_NOT_SUPPORTED)
        # What is left out stays as it is (V.250 5.4.2.2).
        for place, value in enumerate(wanted.groups()):
            if value:
                self._indications[place] = int(value)

    def _command_memories(self, name: str) -> None:
        def counts(memory: str) -> str:
            return f"{len(self._memories[memory])},{_CAPACITY}"

        if name == "+CPMS?":
            self._answer("+CPMS: " + ",".join(f'"{memory}",{counts(memory)}' for memory in self._used))
            return
        wanted = re.findall(r'"(\w+)"', name)
        if not 1 <= len(wanted) <= 3 or not all(memory in self._memories for memory in wanted):
            raise _RefusedError(_NOT_SUPPORTED)
        self._used[: len(wanted)] = wanted
        self._answer("+CPMS: " + ",".join(counts(memory) for memory in self._used))

    def _command_messages(self, name: str) -> None:
        memory = self._memories[self._used[0]]
        action, _, arguments = name.partition("=")
        first, *more = (int(value) for value in re.findall(r"\d+", arguments) or ["0"])
        if action == "+CMGL":
            for index, stored in sorted(memory.items()):
                if first in (4, stored.read):
                    self._answer(f"+CMGL: {index},{int(stored.read)},,{stored.octets}\r\n{stored.pdu}")
                    stored.read = True
        elif action == "+CMGD" and more and more[0]:
            # Flags 1 to 4 delete more than the one at the index (TS 27.005 3.5.4); all here are received
            # ones.
            for index in [index for index, stored in memory.items() if stored.read or more[0] == 4]:
                del memory[index]
        elif first not in memory:
            raise _RefusedError(_INVALID_INDEX)
        elif action == "+CMGD":
            del memory[first]
        else:
            stored = memory[first]
            self._answer(f"+CMGR: {int(stored.read)},,{stored.octets}\r\n{stored.pdu}")
            stored.read = True

    # --- sending

    def _type_pdu(self, octet: int, announced: int) -> None:
        if octet not in (_ESCAPE, _CTRL_Z):
            self._typed.append(octet)
            return
        typed, self._typed = self._typed.decode("latin-1").strip(), bytearray()
        self._announced = None
        if octet == _ESCAPE:
            self._answer("OK")
        else:
            self._submit(typed, announced)
        held, self._held = self._held, []
        for line in held:
            self.say(line)

    def _submit(self, typed: str, announced: int) -> None:
        try:
            submitted = pdu.read_submit(typed, announced)
        except BadPduError:
            self._refuse(_INVALID_PDU)
            return
        if len(self._memories[self._used[2]]) >= _CAPACITY:
            self._refuse(_MEMORY_FULL)
            return
        fault = self._fault(submitted.number)
        if fault and fault.cms_error is not None:
            self._refuse(fault.cms_error)
        elif fault:
            if fault.accepted:
                self._accept(submitted, typed)
            if fault.unplug:
                self._unplug()
        else:
            self._busy = True
            self._later(self._network_s, lambda: self._accepted(submitted, typed))

    def _accepted(self, submitted: Submitted, typed: str) -> None:
        self._busy = False
        self._answer(f"+CMGS: {self._accept(submitted, typed)}")
        self._answer("OK")
        self.feed(b"")

    def _accept(self, submitted: Submitted, typed: str) -> int:
        reference, sent = self._send(submitted, typed), self._now()
        if submitted.wants_report:
            self._later(self._report_delay_s, lambda: self._report(submitted, reference, sent))
        return reference

    def _fault(self, number: str) -> Fault | None:
        faults = self._conditions.faults
        fault = next((fault for fault in faults if fault.number in (None, number)), None)
        if fault:
            fault.count -= 1
            if fault.count == 0:
                faults.remove(fault)
        return fault

    def _refuse(self, cms_error: int | None) -> None:
        if self._errors == 0:
            self._answer("ERROR")
        else:
            self._answer("+CME ERROR: 100" if cms_error is None else f"+CMS ERROR: {cms_error}")

    def _answer(self, text: str) -> None:
        self._write(b"\r\n" + text.encode() + b"\r\n")
