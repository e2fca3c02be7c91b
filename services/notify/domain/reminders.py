"""What becomes of a reminder, and when it is tried again."""

from datetime import datetime, timedelta
from enum import StrEnum


class ReminderState(StrEnum):
    """Life cycle of a reminder.

    SENDING: an SMS will go out, whatever happens to the order from now on; the edge may have it already or not.
    """

    PENDING = "pending"
    CANCELLED = "cancelled"
    SENDING = "sending"
    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    IN_APP_ONLY = "in_app_only"


# A sweep has something to do for these.
UNSETTLED = (ReminderState.PENDING, ReminderState.SENDING)
# The SMS edge may still say what became of these; the handset's word is the last.
OPEN_TO_NEWS = frozenset(
    {
        ReminderState.SENDING,
        ReminderState.QUEUED,
        ReminderState.SENT,
        ReminderState.FAILED,
        ReminderState.UNCERTAIN,
    }
)

# Delay before the second try and the longest one, in seconds.
FIRST_DELAY_S = 5
LONGEST_DELAY_S = 300


def is_news(state: ReminderState, sms_version: int, version: int) -> bool:
    """Return whether what the edge tells of the SMS changes a reminder.

    sms_version: of what was heard last, 0 for nothing. version: of this.
    """
    return state in OPEN_TO_NEWS and version > sms_version


def next_attempt(attempts: int, now: datetime) -> datetime:
    """Return when to try again after this many tries that failed, from 1 on."""
    return now + timedelta(seconds=min(FIRST_DELAY_S * 2 ** min(attempts - 1, 10), LONGEST_DELAY_S))
