"""Keep one link to an Asterisk's manager interface (AMI): log in, watch, reconnect, deliver events in order.

panoramisk reads answers and matches them to actions. Its manager is not used, because it repeats an
unanswered Originate after a reconnect, retries a refused login for ever without a word and never notices a
half-open peer; the supervisor here opens a fresh protocol for each connection instead, so nothing that was
sent is ever sent again. Events that answer nothing, which is nearly all that a PBX says, are read here: panoramisk
looks each header up by its name in lower case, which takes longer than all that the call graph does.

Guarantees: events are delivered in the order of their arrival, or a `Gap` stands where some are missing
(after every login, and after the consumer fell behind). Lost when the process dies: what was queued; the
`Gap` after the next login makes up for it. An action either has its answer, or fails as not sent
(`AmiDownError`), refused (`AmiRefusedError`) or of unknown outcome (`AmiOutcomeUnknownError`).
"""

import asyncio
import codecs
import math
import random
import re
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from panoramisk.actions import Action
from panoramisk.ami_protocol import AMIProtocol
from panoramisk.message import Message

from services.chassis.logging import get_logger
from services.telephony.pbx.callgraph import Event

log = get_logger(__name__)

# Time-outs in seconds: TCP connect, any action's answer, a Ping's answer (a live Asterisk answers in
# milliseconds).
CONNECT_TIMEOUT_S: Final = 5.0
ACTION_TIMEOUT_S: Final = 10.0
PING_TIMEOUT_S: Final = 3.0

# How long the watchdog waits between two Pings, in seconds.
PING_INTERVAL_S: Final = 5.0

# Back-off in seconds: it doubles from the first to the cap; a refused login waits for a person, so its cap
# is higher.
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_CAP_S: Final = 5.0
BACKOFF_REFUSED_S: Final = 30.0

# Events that may wait for the consumer: ten seconds of a hundred calls a second.
QUEUE_EVENTS: Final = 10_000


# How fast the PBX's clock may go astray from ours, in seconds a second: a quartz does by less than half of this.
CLOCK_DRIFT: Final = 1e-4

# What has no end after so many characters is no message: the longest one that Asterisk sends is a few thousand.
LONGEST_MESSAGE: Final = 1_000_000


class LinkState(StrEnum):
    """Name where the link stands."""

    DOWN = "down"
    CONNECTING = "connecting"
    READY = "ready"
    # The PBX refuses the user or the secret: a person has to look.
    REFUSED = "refused"


class AmiError(Exception):
    """An action has no good answer."""


class AmiDownError(AmiError):
    """The link is down and the action was not sent: it may be repeated."""


class AmiRefusedError(AmiError):
    """Asterisk answered Error; the text is its message."""


class AmiOutcomeUnknownError(AmiError):
    """The action was sent, its answer never came: it may have been done, so never repeat it blindly."""


@dataclass(frozen=True, slots=True)
class Received:
    """Hold one AMI event; `time_s` is when it happened, in seconds since the epoch, by our clock."""

    event: Event
    time_s: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Stand where events may be missing: list what lives (CoreShowChannels, QueueStatus) before going on.

    `reason` is `connected`, `booted` or `overflow`.
    """

    reason: str


@dataclass(frozen=True)
class AmiSettings:
    """Hold where the PBX is and how long to wait for it; times in seconds."""

    host: str
    port: int
    user: str
    secret: str = field(repr=False)
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    ping_interval_s: float = PING_INTERVAL_S
    ping_timeout_s: float = PING_TIMEOUT_S
    backoff_first_s: float = BACKOFF_FIRST_S
    backoff_cap_s: float = BACKOFF_CAP_S
    backoff_refused_s: float = BACKOFF_REFUSED_S
    queue_events: int = QUEUE_EVENTS


class PbxClock:
    """Put what the PBX says of when events happened on our own clock.

    Its Timestamp is exact where our process had to wait for a processor, but its clock may be another one. By how much
    is known from both sides: nothing arrives before it happened, and no answer was given before it was asked for. A PBX
    that tells no times is believed to tell everything at once.
    """

    def __init__(self) -> None:
        # How far our clock is ahead of the PBX's, in seconds; infinite while unknown. When that was looked at.
        self._ahead_s = math.inf
        self._looked_s = -math.inf
        self._last_s = -math.inf

    def answered(self, told: str, asked_s: float) -> None:
        """Learn from an answer of the PBX, which says when it was given, to what was asked then."""
        ahead_s = _difference(asked_s, told)
        # However late an answer is read: a clock that was put back is followed, and what came late at first was late.
        if ahead_s is not None and (self._ahead_s == math.inf or ahead_s > self._ahead_s):
            self._ahead_s, self._looked_s = ahead_s, asked_s

    def time_of(self, told: str, arrival_s: float) -> float:
        """Return when an event happened that says so and arrived then, in seconds since the epoch.

        Never later than it arrived, nor before the event before it.
        """
        difference_s = _difference(arrival_s, told)
        if difference_s is None:
            return arrival_s
        drifted_s = self._ahead_s + CLOCK_DRIFT * max(0.0, arrival_s - self._looked_s)
        self._ahead_s, self._looked_s = min(drifted_s, difference_s), arrival_s
        late_s = difference_s - self._ahead_s
        self._last_s = min(arrival_s, max(self._last_s, arrival_s - late_s))
        return self._last_s


def _text(value: str | list[str] | None) -> str:
    return value if isinstance(value, str) else ""


def _difference(time_s: float, told: str) -> float | None:
    """Return by how much a time is later than the one told, in seconds; None when that is none."""
    try:
        difference_s = time_s - float(told)
    except ValueError:
        return None
    return difference_s if math.isfinite(difference_s) else None


class AmiLink:
    """Supervise the connection to one PBX.

    `run` keeps it up until it is cancelled; one consumer takes `batches`. `on_state(state, detail)` is
    called on each change of state, from the event loop; it must not block or raise. `overflows` counts the
    events dropped because the consumer was too slow.
    """

    def __init__(
        self, settings: AmiSettings, on_state: Callable[[LinkState, str], None] = lambda state, detail: None
    ) -> None:
        self._settings = settings
        self._on_state = on_state
        # What waits for the consumer, no more than `queue_events`; set while there is any. An asyncio.Queue looks for
        # waiting readers and writers at each event, and takes as long as to read one.
        self._queue: deque[Received | Gap] = deque()
        self._filled = asyncio.Event()
        self._missing = ""
        # Events of a connection whose login is not over.
        self._early: deque[Received] = deque(maxlen=settings.queue_events)
        self._clock = PbxClock()
        self._connection: Connection | None = None
        self._told: LinkState | None = None
        self.state = LinkState.DOWN
        self.overflows = 0

    async def run(self) -> None:
        """Keep the link up until cancelled: connect, log in, watch, and again with jittered back-off."""
        attempt = 0
        while True:
            cap_s = self._settings.backoff_cap_s
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    connection = await self._open()
                try:
                    await self._log_in(connection)
                    attempt = 0
                    detail = await self._watch(connection)
                finally:
                    self._connection = None
                    connection.abort()
                self._enter(LinkState.DOWN, detail)
            except AmiRefusedError as error:
                cap_s = self._settings.backoff_refused_s
                self._enter(LinkState.REFUSED, str(error))
            except (OSError, TimeoutError, AmiError) as error:
                self._enter(LinkState.DOWN, str(error) or type(error).__name__)
            delay_s = min(cap_s, self._settings.backoff_first_s * 2**attempt)
            # Past the cap the exponent says nothing more; unbounded it would one day overflow a float.
            attempt = min(attempt + 1, 16)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311  # jitter is no secret

    async def batches(self) -> AsyncIterator[list[Received | Gap]]:
        """Yield what has arrived since the last batch, in order, at least one. For one consumer only."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            batch = list(self._queue)
            self._queue.clear()
            # Nothing may have followed the dropped events; then this is where they are missing.
            if self._missing:
                batch.append(Gap(self._missing))
                self._missing = ""
            yield batch

    async def action(
        self, name: str, fields: dict[str, str] | None = None, timeout_s: float = ACTION_TIMEOUT_S
    ) -> dict[str, str]:
        """Send an action and return its answer's headers.

        An Originate's answer says that it was accepted; what became of it is in the OriginateResponse
        event. Raises ValueError for a control character in a name or value (it would be a second action),
        AmiDownError, AmiRefusedError, AmiOutcomeUnknownError.
        """
        answer = await self._ready().send(name, fields or {}, timeout_s, as_list=False)
        return {key: value for key, value in answer.items() if isinstance(value, str)}

    async def listing(
        self, name: str, fields: dict[str, str] | None = None, timeout_s: float = ACTION_TIMEOUT_S
    ) -> list[Event]:
        """Send an action that answers with a list (CoreShowChannels, QueueStatus) and return its events.

        The closing event is left out. Raises as `action` does.
        """
        messages = await self._ready().send(name, fields or {}, timeout_s, as_list=None)
        if not isinstance(messages, list):
            return []
        return [event_of(message) for message in messages[1:-1]]

    def _ready(self) -> "Connection":
        if self._connection is None or self.state is not LinkState.READY:
            raise AmiDownError(f"the link is {self.state}")
        return self._connection

    async def _open(self) -> "Connection":
        # A refused login stays visible while it is tried again.
        if self.state is not LinkState.REFUSED:
            self._enter(LinkState.CONNECTING, "")
        self._early.clear()
        self._clock = PbxClock()
        connection = Connection(self._receive)
        await asyncio.get_running_loop().create_connection(
            connection.protocol, self._settings.host, self._settings.port
        )
        return connection

    async def _log_in(self, connection: "Connection") -> None:
        login = {"Username": self._settings.user, "Secret": self._settings.secret, "Events": "on"}
        await connection.send("Login", login, self._settings.connect_timeout_s, as_list=False)
        self._connection = connection
        self._enter(LinkState.READY, "")
        self._put(Gap("connected"))
        for item in self._early:
            self._put(item)
        self._early.clear()

    async def _watch(self, connection: "Connection") -> str:
        """Ping until the connection is lost or a Ping has no answer in time; returns which."""
        while not connection.lost.done():
            asked_s = time.time()
            try:
                answer = await connection.send("Ping", {}, self._settings.ping_timeout_s, as_list=False)
            except AmiOutcomeUnknownError as error:
                return str(error)
            self._clock.answered(_text(answer.get("Timestamp")), asked_s)
            await asyncio.wait([connection.lost], timeout=self._settings.ping_interval_s)
        return connection.lost.result()

    def _enter(self, state: LinkState, detail: str) -> None:
        self.state = state
        # A link that stays down fails again and again; only the first failure is news.
        if state not in (LinkState.CONNECTING, self._told):
            self._told = state
            if state is LinkState.READY:
                log.info("ami link is up")
            else:
                log.warning("ami link is down", state=state.value, detail=detail)
        self._on_state(state, detail)

    def _receive(self, event: Event) -> None:
        item = Received(event, self._clock.time_of(_text(event.get("Timestamp")), time.time()))
        if self._connection is None:
            # It came together with the answer to the login; what is missing is missing before it.
            self._early.append(item)
            return
        self._put(item)
        # A PBX that starts lets us in before it has loaded its queues; what it listed until then is not all.
        if item.event.get("Event") == "FullyBooted":
            self._put(Gap("booted"))

    def _put(self, item: Received | Gap) -> None:
        if self._missing:
            self._try_put(Gap(self._missing))
        self._try_put(item)

    def _try_put(self, item: Received | Gap) -> None:
        if len(self._queue) >= self._settings.queue_events:
            self._missing = "overflow"
            self.overflows += isinstance(item, Received)
            return
        self._queue.append(item)
        self._filled.set()
        if isinstance(item, Gap):
            self._missing = ""


def event_of(message: Message) -> Event:
    """Return a message's headers as a plain mapping, under the names that Asterisk gave them."""
    return dict(message.items())


def read_event(text: str) -> Event:
    """Return the headers of an event as Asterisk sends it, without the empty line that ends it."""
    pairs = [line.split(": ", 1) for line in text.split("\r\n") if ": " in line]
    event: Event = dict(pairs)
    if len(event) == len(pairs):
        return event
    values: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in pairs:
        values[name].append(value)
    return {name: each if len(each) > 1 else each[0] for name, each in values.items()}


class Connection:
    """Hold one TCP connection; panoramisk's protocol calls it its factory."""

    def __init__(self, receive: Callable[[Event], None]) -> None:
        self.receive = receive
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # panoramisk would queue every unanswered action but these to be sent again; that queue dies with
        # this object.
        self.forgetable_actions: Final = ("login", "ping", "originate")
        self.awaiting_actions: Final[deque[Action]] = deque()
        self._protocol = _Protocol(self)

    def protocol(self) -> "_Protocol":
        return self._protocol

    async def send(self, name: str, fields: dict[str, str], timeout_s: float, as_list: bool | None) -> Any:
        """Send and await the answer: a Message, or for a list all its Messages."""
        for key, value in (("Action", name), *fields.items()):
            if any(ord(char) < 32 or ord(char) == 127 for char in key + value):
                raise ValueError(f"control character in the AMI header {key!r}")
        if self.lost.done():
            raise AmiDownError(self.lost.result())
        action = Action({"Action": name, **fields})
        future = self._protocol.send(action, as_list=as_list)
        await asyncio.wait([future, self.lost], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            self._protocol.responses.pop(action.id, None)
            why = self.lost.result() if self.lost.done() else f"no answer within {timeout_s} s"
            raise AmiOutcomeUnknownError(f"{name}: {why}")
        answer = future.result()
        first = answer[0] if isinstance(answer, list) else answer
        if not first.success:
            raise AmiRefusedError(f"{name}: {first.message}")
        return answer

    def dispatch(self, message: Message) -> None:
        """Take an event that panoramisk read."""
        self.receive(event_of(message))

    def connection_lost(self, reason: object) -> None:
        if not self.lost.done():
            # panoramisk passes the PBX's Shutdown event, an exception, or None.
            told = "the PBX shuts down" if isinstance(reason, Message) else str(reason or "closed by the PBX")
            self.lost.set_result(told)

    def abort(self) -> None:
        """Close at once, whatever is still unsent: a half-open peer would never take it."""
        self._protocol.abort()
        self.connection_lost("closed")


# Ends a message; begins what panoramisk need not see, for it makes nothing of it; marks what it may have to match.
_END: Final = "\r\n\r\n"
_EVENT: Final = re.compile("(?:\r\n)?Event: (?!Shutdown)")
_ANSWER: Final = "\r\nActionID: "


class _Protocol(AMIProtocol):  # type: ignore[misc]  # panoramisk has no type annotations
    """Read whatever comes: panoramisk decodes each segment alone and drops the character that a cut went through.

    A message that makes no sense is left out, and costs no link; one that never ends costs the link, not the memory.
    """

    def __init__(self, connection: Connection) -> None:
        self._owner = connection
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # What has come of a message whose end has not.
        self.rest = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.factory = self._owner
        self.encoding = "utf-8"

    def data_received(self, data: bytes) -> None:
        *messages, self.rest = (self.rest + self._decoder.decode(data)).split(_END)
        for message in messages:
            if _EVENT.match(message) and _ANSWER not in message:
                self._owner.receive(read_event(message))
            else:
                super().data_received((message + _END).encode())
        if len(self.rest) > LONGEST_MESSAGE:
            self.rest = ""
            self._owner.connection_lost("a message without an end")
            self.abort()

    def handle_message(self, message: Message) -> None:
        try:
            super().handle_message(message)
        except (AttributeError, TypeError) as error:
            # A header twice that there is but once: panoramisk takes its list for a text.
            log.warning("an ami message makes no sense", error=str(error))

    def abort(self) -> None:
        self.transport.abort()
