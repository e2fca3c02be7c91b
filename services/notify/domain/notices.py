"""Which way a message goes besides the app, when, and when a person is to be reminded again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Final

from services.notify.domain.texts import CHINA

# Stands for every kind that a person's preferences do not name.
ANY_KIND: Final = "*"

# What cannot wait for a digest or the end of quiet hours.
URGENT_KINDS: Final = frozenset(
    {"order_reminder", "order_escalated", "reclaim_warned", "lead_reclaim_warned"}
)

# Attempts at a mail or a robot that definitely did not take it, and the first wait between them.
ATTEMPTS: Final = 8
FIRST_WAIT: Final = timedelta(seconds=30)
# A delivery without an outcome this long after its intent has nobody who waits for one.
OUTCOME_WITHIN: Final = timedelta(minutes=5)

# How long an order stays unhandled after its reminder before the managers hear of it.
ESCALATE_AFTER: Final = timedelta(hours=2)

# Gaps between follow-ups that a customer's cadence is taken from, and the fewest that say anything.
GAPS_KEPT: Final = 8
FEWEST_GAPS: Final = 2
# A customer is overdue after this many times its usual gap, and never sooner than this.
OVERDUE_FACTOR: Final = 1.5
SHORTEST_GAP: Final = timedelta(days=1)


class Channel(StrEnum):
    """Name a way out of the app."""

    SMS = "sms"
    MAIL = "mail"
    DINGTALK = "dingtalk"
    WECOM = "wecom"


# Ways to one person; robots speak to a group.
PERSONAL: Final = (Channel.SMS, Channel.MAIL)


class DeliveryState(StrEnum):
    """Life cycle of a message on one channel."""

    PENDING = "pending"
    # The intent is written: from here on only an outcome moves it.
    SENDING = "sending"
    # Telephony has the SMS.
    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    # Nobody knows; never sent again by itself.
    UNCERTAIN = "uncertain"
    # Its reason was gone before it went out.
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Preferences:
    """Hold how a person wants to be told.

    channels: by kind of message, "*" for the others. digest_minute: of the day, China time, when what is not urgent
    comes as one message; None: at once. quiet_from, quiet_until: minutes of the day between which nothing but the
    urgent is sent; equal: never. mail: where to. locale: "zh-CN" or "en".
    """

    channels: Mapping[str, Sequence[Channel]] = field(default_factory=dict)
    digest_minute: int | None = None
    quiet_from_minute: int = 0
    quiet_until_minute: int = 0
    mail: str = ""
    locale: str = "zh-CN"

    def ways(self, kind: str) -> list[Channel]:
        """Return the channels for a kind of message; mail needs an address."""
        chosen = self.channels.get(kind, self.channels.get(ANY_KIND, ()))
        return [channel for channel in chosen if channel is not Channel.MAIL or self.mail]

    def send_time(self, kind: str, now: datetime) -> tuple[datetime, bool]:
        """Return when a message of a kind goes out, and whether with the digest."""
        if kind in URGENT_KINDS:
            return now, False
        if self.digest_minute is not None:
            return next_minute(now, self.digest_minute), True
        return self._after_quiet(now), False

    def _after_quiet(self, now: datetime) -> datetime:
        local = now.astimezone(CHINA)
        minute, start, end = local.hour * 60 + local.minute, self.quiet_from_minute, self.quiet_until_minute
        quiet = start <= minute < end if start < end else start != end and (minute >= start or minute < end)
        return next_minute(now, end) if quiet else now


def next_minute(now: datetime, minute: int) -> datetime:
    """Return when a minute of the day, China time, comes next; now itself does not count."""
    local = now.astimezone(CHINA)
    today = local.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
    return today if today > local else today + timedelta(days=1)


def retry_after(attempts: int) -> timedelta | None:
    """Return how long to wait after this many attempts that failed; None: no more."""
    return None if attempts >= ATTEMPTS else FIRST_WAIT * 2 ** (attempts - 1)


def next_firing(
    due: datetime, every: timedelta | None, until: datetime | None, now: datetime
) -> datetime | None:
    """Return when a reminder fires after it fired now; None: no more.

    every: its frequency, None for once. Firings that were missed are not made up for.
    """
    if every is None:
        return None
    following = due + every * ((now - due) // every + 1)
    return None if until is not None and following > until else following


def overdue_time(last: datetime, gaps_s: Sequence[float]) -> datetime | None:
    """Return when a customer is overdue by its own cadence (F193); None: too little is known of it.

    gaps_s: seconds between its follow-ups so far.
    """
    if len(gaps_s) < FEWEST_GAPS:
        return None
    return last + max(timedelta(seconds=OVERDUE_FACTOR * median(gaps_s)), SHORTEST_GAP)
