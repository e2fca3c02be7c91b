"""Say what becomes of a message, by what became of its segments."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Final

# Characters of a message at most.
LONGEST_TEXT: Final = 500

# How long a message is worth sending.
VALIDITY: Final = timedelta(hours=24)

# Attempts at a segment that the modem refuses without saying for how long.
LIMITED_ATTEMPTS: Final = 3

# A report without a reference that was kept belongs to a segment whose sending is at most this far away.
REPORT_WINDOW: Final = timedelta(minutes=10)

# How long after its sending a segment is looked for: a report comes within the validity, or a modem kept it a while.
REPORTED_FOR: Final = timedelta(days=3)

# Digits that two writings of a number must share at their end; service numbers are shorter and compared
# whole.
SAME_NUMBER_DIGITS: Final = 8

# Quiet hours are China's local time: one zone, no summer time.
CHINA: Final = timezone(timedelta(hours=8))

# Operators drop the same text to the same number when it comes again within this time.
SAME_TEXT_PAUSE: Final = timedelta(seconds=59)

# A modem whose process was not heard of this long has none: another may take over what it had.
MODEM_GONE_AFTER: Final = timedelta(seconds=30)

# How long the parts of a received message are waited for before it is shown with gaps.
PARTS_WAIT: Final = timedelta(hours=1)

# What a receiver answers who wants no more of it (the operators' words for it), without blanks and full stops.
OPT_OUT_WORDS: Final = frozenset({"T", "TD", "N", "退订", "退訂", "回T", "拒收", "STOP", "UNSUBSCRIBE"})


class SegmentState(StrEnum):
    """Name where a segment stands."""

    QUEUED = "queued"
    # A modem has it and has not begun to send.
    CLAIMED = "claimed"
    # The intent is written: from here on only an outcome moves it.
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    # Sent or not is unknown.
    UNCERTAIN = "uncertain"


class SmsState(StrEnum):
    """Name where a message stands."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNCERTAIN = "uncertain"


class Lane(StrEnum):
    """Name how much a message matters; a modem takes what is due in this order."""

    # Somebody must know now; goes another way soon when no modem can send.
    URGENT = "urgent"
    REMINDER = "reminder"
    # To many customers: only in the hours for it, never to who opted out.
    BULK = "bulk"

    @property
    def priority(self) -> int:
        """Its place in the queue: 0 goes first."""
        return list(Lane).index(self)


class Reason(StrEnum):
    """Name why a message failed, for programs."""

    REFUSED = "REFUSED"
    NOT_DELIVERED = "NOT_DELIVERED"
    EXPIRED = "EXPIRED"
    # No modem of the tenant could send: nothing went out.
    NO_MODEM = "NO_MODEM"
    OPTED_OUT = "OPTED_OUT"
    # A person said that it did not go out.
    DECIDED = "DECIDED"


class Decision(StrEnum):
    """Name what a person says of an uncertain message."""

    WENT_OUT = "went_out"
    DID_NOT = "did_not"
    # It did not, and is to be sent now: the only way in which a segment is ever sent a second time.
    SEND_AGAIN = "send_again"


@dataclass(frozen=True)
class Policy:
    """Hold a tenant's rules for SMS.

    bulk_from_minute, bulk_until_minute: the minutes of the day, China time, between which bulk may go out. The
    limits: messages that one number gets in an hour and in 24 hours, urgent ones not counted. blocked_after_s: how
    long a reminder waits while no modem can send; an urgent message waits a fifth of it.
    """

    bulk_from_minute: int = 9 * 60
    bulk_until_minute: int = 20 * 60
    number_hourly_limit: int = 10
    number_daily_limit: int = 40
    blocked_after_s: int = 300

    def bulk_allowed(self, now: datetime) -> bool:
        """Tell whether bulk may go out now."""
        local = now.astimezone(CHINA)
        return self.bulk_from_minute <= local.hour * 60 + local.minute < self.bulk_until_minute

    def waits(self, lane: Lane) -> timedelta | None:
        """Return how long a message waits for a modem that can send; None: as long as it is worth sending."""
        if lane is Lane.BULK:
            return None
        return timedelta(seconds=self.blocked_after_s / (5 if lane is Lane.URGENT else 1))


def next_allowed(policy: Policy, recent: Iterable[datetime], now: datetime) -> datetime | None:
    """Return when a number may get the next message, None for now.

    recent: when messages to it were taken up, of the last 24 hours.
    """
    times = sorted(recent, reverse=True)
    waits = []
    for limit, window in (
        (policy.number_hourly_limit, timedelta(hours=1)),
        (policy.number_daily_limit, timedelta(days=1)),
    ):
        # The one that many back is still within the window: wait until it leaves it.
        if len(times) >= limit and times[limit - 1] > now - window:
            waits.append(times[limit - 1] + window)
    return max(waits, default=None)


def asks_to_stop(text: str) -> bool:
    """Tell whether a received text asks for no more messages: 退订, T, TD and the like, and nothing else."""
    plain = unicodedata.normalize("NFKC", text).upper()
    return "".join(char for char in plain if char.isalnum()) in OPT_OUT_WORDS


def fate(segments: Iterable[SegmentState]) -> SmsState:
    """Return the state of a message with these segments.

    One refused segment fails it; it is uncertain once no segment is left to send and the outcome of one is
    unknown.
    """
    states = set(segments)
    if SegmentState.FAILED in states:
        return SmsState.FAILED
    if states == {SegmentState.QUEUED}:
        return SmsState.QUEUED
    if states & {SegmentState.QUEUED, SegmentState.CLAIMED, SegmentState.SENDING}:
        return SmsState.SENDING
    if SegmentState.UNCERTAIN in states:
        return SmsState.UNCERTAIN
    return SmsState.DELIVERED if states == {SegmentState.DELIVERED} else SmsState.SENT


def retry_time(attempts: int, now: datetime) -> datetime:
    """Return when to try again after so many attempts (from 1): 30 s, doubling, at most half an hour."""
    return now + timedelta(seconds=min(30 * 2 ** (attempts - 1), 1800))


def same_number(one: str, other: str) -> bool:
    """Tell whether two writings mean one number; a report may lack the plus and the country code."""
    first, second = (number.lstrip("+") for number in (one, other))
    shorter, longer = sorted((first, second), key=len)
    return shorter == longer or (len(shorter) >= SAME_NUMBER_DIGITS and longer.endswith(shorter))
