"""What a modem thread needs from the service that keeps the messages: the `SmsQueue` it is built on.

The modem room knows serial lines, AT and PDUs; it knows no database, no tenant and no event. Everything
durable is behind `SmsQueue`, which the telephony service implements for one modem over its store. What the
two promise together:

- A segment goes to the network at most once by itself. `before_send` is durable before Ctrl-Z is written;
  from then on only `sent`, `failed` or `uncertain` move it, and `recover` turns an intent without an outcome
  into uncertain. Lost when the process dies between intent and outcome: the knowledge whether it went out. A
  delivery report or a person settles that, never a second sending.
- A delivery report or a received message is deleted from the modem only after `report` or `received` has
  returned. Both can therefore come twice; `fingerprint` is their idempotency key.

All methods are called from the modem's own thread, one at a time, and each is one short transaction. An
exception from them means "the store is not available now", a `StoreAwayError` that it said so itself:
nothing is deleted or sent, an outcome already known is offered again until it is taken, everything else goes
through a new connection and `recover`. An outcome can therefore come twice too, when the first was committed
and the answer lost: then, as for any segment that is not this modem's any more, `StaleSegmentError` says that
there is nothing to offer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from services.telephony.modem.pdu import Encoding


class StoreAwayError(RuntimeError):
    """Say that the store is known not to be available now, and will be: nobody has to look for a defect."""


class StaleSegmentError(RuntimeError):
    """Say that a segment is not this modem's to move any more: settled, given back or lost with the lease."""


class Failure(Enum):
    """Say what to do with a segment that the modem or the network has definitely refused."""

    # Busy, congested, out of service for now: again later with back-off, as long as the message is worth
    # sending.
    RETRY = "retry"
    # May be this message or may be the moment: again later with back-off, three attempts in all.
    LIMITED = "limited"
    # This number or text will never pass: fail the whole message, its other segments are not sent either.
    MESSAGE = "message"
    # This SIM may not send (barred, blocked, no PIN): back to the queue, not an attempt; the modem stops and
    # says so by `link_changed`.
    SIM = "sim"


class LinkState(Enum):
    """Name where a modem stands; each is reported as it is entered."""

    # No connection: the device is missing, silent or taken by another program, or stopped; detail says which.
    DOWN = "down"
    # The modem is brought to a known state: a half-typed command or an open prompt is cancelled.
    RESYNC = "resync"
    # Echo off, PDU mode, reports switched on.
    INIT = "init"
    # Waiting for the SIM to be ready.
    SIM = "sim"
    # Waiting for the SIM to be registered in a network.
    NETWORK = "network"
    # Sending and receiving.
    READY = "ready"
    # Receiving only, for a while: too many failures in a row, or the SIM has sent all that it may; detail
    # says which.
    PAUSED = "paused"
    # The SIM is missing, locked or barred: a person has to look.
    SIM_STOPPED = "sim_stopped"


class Fate(Enum):
    """Say what a delivery report tells of a segment (TP-Status, 3GPP TS 23.040 9.2.3.15)."""

    # 0x00: the phone has it.
    DELIVERED = "delivered"
    # 0x20-0x3F: not yet, the service centre goes on trying; another report follows.
    TRYING = "trying"
    # 0x40-0x7F: never delivered, the service centre has given up.
    FAILED = "failed"
    # 0x01, 0x02 and reserved values: passed on or replaced, delivery not confirmed.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outgoing:
    """Hold one segment to send, claimed for this modem.

    id: the segment's own id in the store. number: E.164 with its plus, or a short code in digits. text: this
    segment's share, as `pdu.split` cut it. encoding: the one `pdu.split` chose for the whole message. part,
    parts: from 1. reference: 0 to 255, the same for all parts of a message and another for the next one to
    that number. validity_s: how long the service centre may go on trying, rounded up to what the format can
    say.
    """

    id: str
    number: str
    text: str
    encoding: Encoding
    part: int = 1
    parts: int = 1
    reference: int = 0
    validity_s: int = 24 * 3600


@dataclass(frozen=True)
class Report:
    """Hold one delivery report (SMS-STATUS-REPORT).

    reference: TP-MR as `sent` gave it, 0 to 255, wraps: match by modem, reference, number and the nearest
    time. number: as sent, but perhaps without its plus and country code. sent_time: when the service centre
    took the message; done_time: when it was delivered or given up; None where the modem passed on an
    unreadable time. status: the raw TP-Status. fingerprint: the same for the same report read twice.
    """

    reference: int
    number: str
    sent_time: datetime | None
    done_time: datetime | None
    status: int
    fate: Fate
    fingerprint: str


@dataclass(frozen=True)
class Incoming:
    """Hold one received segment (SMS-DELIVER).

    number: +E.164, a short code, or an alphanumeric sender name. part, parts, reference: of a long message,
    whose segments may come in any order; the store joins those of one number and reference. encoding OCTETS:
    `text` is the data in hex. fingerprint: the same for the same segment read twice.
    """

    number: str
    text: str
    encoding: Encoding
    sent_time: datetime | None
    part: int
    parts: int
    reference: int
    fingerprint: str


class SmsQueue(Protocol):
    """Keep one modem's messages; implemented by the telephony service over its store.

    `before_send`, `sent`, `failed` and `uncertain` raise StaleSegmentError for a segment that is not in the state
    before theirs.
    """

    def recover(self) -> None:
        """Settle what an earlier connection left behind; called before each attempt to connect.

        This modem's segments with an intent and no outcome become uncertain; claimed ones without an intent
        go back to the queue.
        """

    def sent_ages(self, window_s: int) -> Sequence[float]:
        """Return how many seconds ago each segment of the last `window_s` was sent, in any order."""

    def next_segment(self) -> Outgoing | None:
        """Claim the next due segment, or return None.

        Urgent ones come first, the parts of one message one after the other, and none whose back-off time has
        not come. Asked about once a second, and at once after `Link.wake`.
        """

    def before_send(self, segment: Outgoing) -> None:
        """Make the intent to send durable; Ctrl-Z is written only after this has returned."""

    def sent(self, segment: Outgoing, reference: int | None) -> None:
        """Record that the network took it; reference is its TP-MR (0 to 255), None if the modem told none."""

    def failed(self, segment: Outgoing, failure: Failure, error: str) -> None:
        """Record a definite refusal; error is the modem's own words, such as `+CMS ERROR: 28`."""

    def uncertain(self, segment: Outgoing, error: str) -> None:
        """Record that nobody knows whether it went out; it is never sent again by itself."""

    def report(self, report: Report) -> None:
        """Keep a delivery report; it may settle a sent or an uncertain segment, or match none."""

    def received(self, message: Incoming) -> None:
        """Keep a received segment."""

    def signal(self, strength: int | None) -> None:
        """Note how strong the signal is: 0 to 31 as +CSQ has it, None if the modem does not know.

        What it raises is logged and otherwise ignored.
        """

    def link_changed(self, state: LinkState, detail: str) -> None:
        """Note where the modem stands, for people, metrics and alarms; detail: one English line or empty.

        What it raises is logged and otherwise ignored.
        """
