"""Use one modem for as long as one connection lasts: prepare it, send what the queue has, keep what comes in.

Guarantees: the intent to send is durable before Ctrl-Z; an outcome, once known, is offered to the queue until
it is taken; a message or report is deleted from the modem only after the queue has it. One bad number never
holds up the rest. Any exception that leaves `run` means: close the connection and begin again.
"""

import hashlib
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from services.telephony.modem import commands
from services.telephony.modem.commands import Command, CommandError, Repair
from services.telephony.modem.engine import AnswerLostError, Engine, LinkLostError, NoAnswerError
from services.telephony.modem.pace import Allowance, Breaker
from services.telephony.modem.pdu import (
    Concat,
    Deliver,
    Encoding,
    PduError,
    StatusReport,
    Submit,
    decode_received,
)
from services.telephony.modem.port import (
    Failure,
    Fate,
    Incoming,
    LinkState,
    Outgoing,
    Report,
    SmsQueue,
    StaleSegmentError,
    StoreAwayError,
)

log = logging.getLogger(__name__)

# How long announced messages may wait for each other while there is something to send: listing them takes the line.
_GATHER_S = 1.0
# How long received messages are kept in the store while the network is at work on one that is sent: it takes longer.
_MEANWHILE_S = 0.03
# Between two looks at a SIM or a network that is not ready yet.
_READINESS_POLL_S = 1.0
# What a modem says when it has restarted by itself and forgotten its settings.
_RESTARTED = re.compile(r"RDY$|SYSSTART|\+CPIN:|\+CFUN:")
# A message was put into a memory: +CMTI for a message, +CDSI for a report (TS 27.005 3.4.1).
_STORED = re.compile(r'\+(?:CMTI|CDSI): ?"(\w+)"')
_PASSED_ON = re.compile(r"\+(?:CMT|CDS): ?(?:.*,)?(\d+)$")
_LISTED = re.compile(r"\+CMGL: ?(\d+), ?([01]),.*?(\d+)$")
# Where a modem may keep messages and reports; MT and BM are other views or not ours.
_OUR_MEMORIES = ("SM", "ME", "SR")
_REGISTRATIONS = (commands.REGISTRATION, commands.LTE_REGISTRATION)


def tell_refusal(what: str, modem: str, error: Exception) -> None:
    """Log what the store did not take: where it says that it is away in a line, else as the defect that it may be."""
    if isinstance(error, StoreAwayError):
        log.warning(what, extra={"modem": modem, "why": str(error)})
    else:
        log.error(what, extra={"modem": modem}, exc_info=error)


class SimStoppedError(Exception):
    """Say that this SIM cannot be used until a person has looked: missing, locked or barred."""


@dataclass(frozen=True)
class Settings:
    """Say how one modem is used; the defaults are for a SIM in China, operators differ."""

    # For logs and people.
    name: str
    # /dev/serial/by-id/..., another device or pty path, or socket://HOST:PORT.
    port: str
    # Only real serial lines care; USB modems take any.
    baud: int = 115_200
    # The most segments that the SIM sends in any hour and in any 24 hours.
    hourly_limit: int = 200
    daily_limit: int = 1000
    # How often the queue is asked for work when nobody calls `wake`.
    poll_s: float = 1.0
    # How often a silent modem is asked whether it is alive and registered.
    watchdog_s: float = 30.0
    # How often the memories are listed, whatever the modem has announced.
    sweep_s: float = 60.0
    # How long a SIM may take to be ready, and a network to register it, before the modem is opened anew.
    sim_timeout_s: float = 30.0
    network_timeout_s: float = 120.0
    # How long the network may take over one segment (modem manuals).
    submit_timeout_s: float = 120.0
    # After so many failures in a row sending pauses, first for this long, then twice as long, up to 15
    # minutes.
    breaker_failures: int = 5
    breaker_pause_s: float = 60.0
    # How long the store gets before an outcome that it refused is offered again: first, and at most.
    store_retry_s: float = 1.0
    store_retry_max_s: float = 30.0
    # The wait before the modem is opened again: first, at most, and after a SIM fault.
    reopen_s: float = 0.5
    reopen_max_s: float = 30.0
    sim_retry_s: float = 300.0
    # What to do at which +CMS ERROR code.
    failures: Mapping[int, Failure] = field(default_factory=lambda: commands.CMS_FAILURES)


class Session:
    """Hold one connected period of one modem; all of it runs in the modem's thread.

    breaker: outlives the session. enter: told each state that the modem comes into. stop: ends `run` after
    what is under way. wake: the queue may have work.
    """

    def __init__(
        self,
        engine: Engine,
        queue: SmsQueue,
        settings: Settings,
        breaker: Breaker,
        *,
        enter: Callable[[LinkState, str], None],
        stop: threading.Event,
        wake: threading.Event,
    ) -> None:
        self._engine = engine
        self._clock = engine.clock
        self._queue = queue
        self._settings = settings
        self._enter = enter
        self._stop = stop
        self._wake = wake
        self._allowance = Allowance(settings.hourly_limit, settings.daily_limit, engine.clock)
        self._breaker = breaker
        self._service_centre = ""
        self._acknowledges = False
        self._indications: Command | None = None
        # Memories to list: all, and those that the modem has announced something in.
        self._memories: tuple[str, ...] = ()
        # The one that the modem lists and deletes in.
        self._selected = ""
        self._announced: set[str] = set()
        # Until when those may wait.
        self._gather_until = 0.0
        # What the selected memory was found to hold: not kept yet (index, PDU, octets); kept, to be deleted. It is not
        # listed again before: an index that is deleted twice may be another message's by then.
        self._listed: deque[tuple[int, str, int]] = deque()
        self._kept: list[int] = []
        # Whether the modem takes several deletions in one line, as far as is known.
        self._together = True

    def run(self) -> None:
        """Prepare the modem, then send and receive until stopped.

        Raises LinkLostError, NoAnswerError, CommandError or SimStoppedError, or whatever the queue raises.
        """
        self._prepare()
        next_check = self._clock() + self._settings.watchdog_s
        next_sweep = self._clock() + self._settings.sweep_s
        while not self._stop.is_set():
            self._wake.clear()
            busy = self._send_next()
            if not busy:
                self._idle()
            self._hear(busy=busy)
            if self._clock() >= next_check:
                self._check()
                next_check = self._clock() + self._settings.watchdog_s
            if self._clock() >= next_sweep:
                self._sweep()
                next_sweep = self._clock() + self._settings.sweep_s

    def _prepare(self) -> None:
        self._enter(LinkState.RESYNC, "")
        self._engine.resync()
        self._enter(LinkState.INIT, "")
        self._try(commands.ECHO_OFF)
        self._try(commands.NUMERIC_ERRORS)
        self._engine.run(commands.PDU_MODE)
        self._enter(LinkState.SIM, "")
        self._wait_for_sim()
        self._enter(LinkState.NETWORK, "")
        self._wait_for_network()
        self._service_centre = self._ask(commands.SERVICE_CENTRE).partition(":")[2].strip()
        # The first bracket lists what can be read and deleted in.
        readable = re.findall(r'"(\w+)"', self._ask(commands.MEMORIES).partition(")")[0])
        self._memories = tuple(memory for memory in _OUR_MEMORIES if memory in readable)
        self._try(commands.KEEP_LINK)
        self._acknowledges = re.match(r"\+CSMS: ?1", self._ask(commands.SERVICE)) is not None
        self._allowance.start(self._queue.sent_ages(Allowance.WINDOW_S))
        self._sweep()
        self._tell_signal(self._ask(commands.SIGNAL))
        self._enter(LinkState.READY, "")

    def _wait_for_sim(self) -> None:
        deadline = self._clock() + self._settings.sim_timeout_s
        while True:
            try:
                state = (
                    " ".join(line.text for line in self._engine.run(commands.SIM_STATE))
                    .partition(":")[2]
                    .strip()
                )
                if "PIN" in state or "PUK" in state:
                    raise SimStoppedError(f"the SIM asks for a code, switch that off: {state}")
                if state in ("READY", ""):
                    return
            except CommandError as error:
                if commands.classify(error) is Failure.SIM:
                    raise SimStoppedError(str(error)) from error
                if error.code is None:
                    # Not every modem knows the question.
                    return
                state = str(error)
            self._pause(deadline, f"the SIM is not ready: {state}")

    def _wait_for_network(self) -> None:
        deadline = self._clock() + self._settings.network_timeout_s
        while not self._registered():
            self._pause(deadline, "not registered in a network")

    def _registered(self) -> bool:
        answers = [answer for question in _REGISTRATIONS if (answer := self._ask(question))]
        # A modem that tells nothing is taken as registered: it will say so itself when it sends.
        return not answers or any(commands.is_registered(answer) for answer in answers)

    def _pause(self, deadline: float, why: str) -> None:
        self._engine.listen(_READINESS_POLL_S)
        if self._clock() >= deadline or self._stop.is_set():
            raise LinkLostError(why)

    def _indicate(self) -> None:
        """Say how the modem is to tell of what comes in; said again now and then, modems forget."""
        choices = commands.NEW_MESSAGE_INDICATIONS if self._indications is None else (self._indications,)
        self._indications = next((choice for choice in choices if self._try(choice)), None)

    # --- sending

    def _send_next(self) -> bool:
        """Send one segment if there is one and nothing holds it back; tell whether there was."""
        held_back = self._allowance.spent() or self._breaker.open()
        self._enter(LinkState.PAUSED if held_back else LinkState.READY, held_back)
        if held_back or (segment := self._queue.next_segment()) is None:
            return False
        try:
            pdu, octets = _submit_of(segment).encode()
            reference = self._engine.submit(
                pdu,
                octets,
                partial(self._queue.before_send, segment),
                self._settings.submit_timeout_s,
                self._keep_some,
            )
        except PduError as error:
            self._fail(segment, Failure.MESSAGE, str(error))
        except CommandError as error:
            self._refused(segment, error)
        except NoAnswerError:
            self._fail(segment, Failure.RETRY, "the modem did not ask for the message")
        except StaleSegmentError as error:
            # Only `before_send` gets here: nothing went out.
            log.warning("a segment was taken back", extra={"modem": self._settings.name, "why": str(error)})
        except AnswerLostError as error:
            # A modem that swallows messages must not swallow the whole queue.
            self._breaker.count(str(error))
            self._queue.uncertain(segment, str(error))
            raise LinkLostError(f"no answer to a message: {error}") from error
        else:
            self._settle(partial(self._queue.sent, segment, reference))
            self._allowance.note()
            self._breaker.reset()
        return True

    def _refused(self, segment: Outgoing, error: CommandError) -> None:
        verdict = commands.classify(error, self._settings.failures)
        if isinstance(verdict, Repair):
            # The refusal is recorded first: a repair that fails must not leave the segment in doubt.
            self._fail(segment, Failure.RETRY, str(error))
            self._repair(verdict)
            return
        self._fail(segment, verdict, str(error))
        if verdict is Failure.SIM:
            raise SimStoppedError(str(error))

    def _fail(self, segment: Outgoing, failure: Failure, words: str) -> None:
        self._settle(partial(self._queue.failed, segment, failure, words))
        if failure is Failure.MESSAGE:
            # The network was well enough to judge it.
            self._breaker.reset()
        else:
            self._breaker.count(words)

    def _repair(self, repair: Repair) -> None:
        log.warning("modem needs a repair", extra={"modem": self._settings.name, "repair": repair.name})
        if repair is Repair.MEMORY_FULL:
            self._sweep()
        elif self._service_centre:
            self._try(commands.set_service_centre(self._service_centre))

    def _settle(self, record: Callable[[], None]) -> None:
        """Offer an outcome to the store until it takes it; a stop gives up and leaves it to `recover`."""
        delay_s = self._settings.store_retry_s
        while True:
            try:
                return record()
            except StaleSegmentError as error:
                # Either an earlier offer was taken after all, or somebody else has settled it.
                log.warning(
                    "an outcome came too late", extra={"modem": self._settings.name, "why": str(error)}
                )
                return None
            except Exception as error:
                if delay_s == self._settings.store_retry_s:
                    tell_refusal(
                        "the store refused an outcome, offering it again", self._settings.name, error
                    )
                if self._stop.wait(delay_s):
                    raise
                delay_s = min(2 * delay_s, self._settings.store_retry_max_s)

    # --- receiving

    def _idle(self) -> None:
        """Wait for the modem to speak, for `wake`, or for the time to ask the queue again."""
        deadline = self._clock() + self._settings.poll_s
        while self._clock() < deadline and not (self._wake.is_set() or self._stop.is_set()):
            # Short, as `wake` cannot interrupt a read.
            self._engine.listen(min(0.05, deadline - self._clock()))
            if self._engine.unsolicited:
                return

    def _hear(self, *, busy: bool) -> None:
        """Deal with everything that the modem said unasked. busy: there may be more to send."""
        while self._engine.unsolicited:
            line = self._engine.unsolicited.popleft()
            if stored := _STORED.match(line.text):
                if not self._announced:
                    self._gather_until = self._clock() + _GATHER_S
                self._announced.add(stored[1])
            elif line.pdu and (header := _PASSED_ON.match(line.text)):
                # It is nowhere but here: keep it whatever the store says.
                self._settle(partial(self._keep, line.pdu, int(header[1])))
                if self._acknowledges:
                    self._try(commands.ACKNOWLEDGE)
            elif _RESTARTED.match(line.text):
                raise LinkLostError(f"the modem has restarted: {line.text}")
        if not busy:
            self._empty()
            while self._announced:
                self._list(self._announced.pop())
                self._empty()
        elif self._kept and not self._listed:
            self._delete()
        elif self._announced and not self._listed and self._clock() >= self._gather_until:
            # It is kept while the network is at work on the next messages.
            self._list(self._announced.pop())

    def _sweep(self) -> None:
        """List every memory, announced or not: an announcement is easily lost."""
        self._empty()
        self._indicate()
        # Said again too: a modem may have forgotten it.
        self._selected = ""
        for memory in self._memories or ("",):
            self._list(memory)
            self._empty()

    def _list(self, memory: str) -> None:
        """Find out what a memory holds; "" stands for the one that the modem has selected."""
        # A modem that refuses to select one (ofono-phonesim does) may list the right one all the same.
        if memory and memory != self._selected and self._try(commands.select_memory(memory)):
            self._selected = memory
        try:
            lines = self._engine.run(commands.LIST_ALL)
        except CommandError:
            # That is how some modems say that there is nothing.
            return
        for line in lines:
            if line.pdu and (listed := _LISTED.match(line.text)):
                self._listed.append((int(listed[1]), line.pdu, int(listed[3])))

    def _empty(self) -> None:
        """Keep what was found and delete it."""
        try:
            while self._listed:
                self._keep_next()
        finally:
            # A store that fails in the middle has the ones before.
            self._delete()

    def _keep_some(self) -> None:
        """Keep some of what was found, in no more time than the network takes over a message anyway."""
        end = self._clock() + _MEANWHILE_S
        try:
            while self._listed and self._clock() < end:
                self._keep_next()
        except Exception as error:
            # It stays in the modem and in the list; the store's next refusal closes the connection.
            tell_refusal("a received message was not kept", self._settings.name, error)

    def _keep_next(self) -> None:
        index, pdu, octets = self._listed[0]
        self._keep(pdu, octets)
        self._listed.popleft()
        self._kept.append(index)

    def _delete(self) -> None:
        """Delete what is kept from the selected memory, several at once where the modem takes that."""
        kept, self._kept = self._kept, []
        if not self._together:
            for index in kept:
                self._try(commands.delete(index))
            return
        for line in commands.deletions(kept):
            if not self._try(line):
                # Nobody knows which are gone, and a message may have come to the place of one: look before the rest.
                self._together = False
                self._announced.add(self._selected)
                return

    def _keep(self, pdu: str, octets: int) -> None:
        """Hand a message or a report to the queue, and what nobody can read as it is."""
        fingerprint = hashlib.sha256(pdu.upper().encode()).hexdigest()
        try:
            content = decode_received(pdu, octets)
        except PduError as error:
            log.warning("unreadable PDU", extra={"modem": self._settings.name, "error": str(error)})
            content = Deliver("", pdu, Encoding.OCTETS, None, None)
        if isinstance(content, StatusReport):
            self._queue.report(_report_of(content, fingerprint))
        else:
            self._queue.received(_incoming_of(content, fingerprint))

    # --- the modem's health

    def _check(self) -> None:
        """Find out whether the modem is alive and registered; one question may go unanswered, two may not."""
        try:
            answer = self._ask(commands.SIGNAL)
        except NoAnswerError:
            answer = self._ask(commands.SIGNAL)
        self._tell_signal(answer)
        if not self._registered():
            raise LinkLostError("no longer registered in a network")

    def _tell_signal(self, answer: str) -> None:
        try:
            self._queue.signal(commands.signal_strength(answer))
        except Exception as error:
            tell_refusal("signal not noted", self._settings.name, error)

    def _ask(self, command: Command) -> str:
        """Return the answer in one line, empty if the modem refuses."""
        try:
            return " ".join(line.text for line in self._engine.run(command))
        except CommandError:
            return ""

    def _try(self, command: Command) -> bool:
        try:
            self._engine.run(command)
        except CommandError:
            return False
        return True


def _submit_of(segment: Outgoing) -> Submit:
    concat = Concat(segment.reference, segment.part, segment.parts) if segment.parts > 1 else None
    return Submit(segment.number, segment.text, segment.encoding, concat, segment.validity_s)


def _report_of(report: StatusReport, fingerprint: str) -> Report:
    fate = Fate.UNKNOWN
    if report.status == 0:
        fate = Fate.DELIVERED
    elif 0x20 <= report.status < 0x80:
        fate = Fate.TRYING if report.status < 0x40 else Fate.FAILED
    return Report(
        report.reference, report.number, report.sent_time, report.done_time, report.status, fate, fingerprint
    )


def _incoming_of(message: Deliver, fingerprint: str) -> Incoming:
    place = message.concat or Concat(0, 1, 1)
    # A NUL is no character of any text, and no text store takes it.
    text = message.text.replace("\0", "")
    return Incoming(
        message.number,
        text,
        message.encoding,
        message.sent_time,
        place.part,
        place.parts,
        place.reference,
        fingerprint,
    )
