"""Say what becomes of a message, by what became of its segments."""

from collections.abc import Iterable
from datetime import datetime, timedelta
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
