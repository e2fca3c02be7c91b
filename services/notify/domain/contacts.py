"""Whom a person is to contact: the lists of a day, and how long a customer may be without an order or silent."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.chassis.errors import InvalidInput
from services.notify.domain.texts import CHINA

# The longest that a policy gives a customer.
MOST_DAYS: Final = 3660
# Names that a message of the day carries.
NAMES_SHOWN: Final = 5


class DueList(StrEnum):
    """Name a list of those whom a person is to contact."""

    OVERDUE = "overdue"
    TODAY = "today"
    TOMORROW = "tomorrow"
    NO_ORDER = "no_order"
    SILENT = "silent"


class DueReason(StrEnum):
    """Say why somebody is on it."""

    PLAN = "plan"
    REMINDER = "reminder"
    CADENCE = "cadence"
    ORDER = "order"
    SILENCE = "silence"


@dataclass(frozen=True)
class ReminderPolicy:
    """Hold a tenant's rules.

    daily_minute: of the day, China time, at which everybody gets the own lists. order_days: without an order, of who
    has no usual gap between orders yet. silence_days: without anything at all. 0 days: nobody is reminded.
    """

    daily_minute: int = 8 * 60 + 30
    order_days: int = 90
    silence_days: int = 180

    def check(self) -> None:
        """Raise InvalidInput MINUTE_INVALID or DAYS_OUT_OF_RANGE naming the field."""
        if not 0 <= self.daily_minute < 24 * 60:
            raise InvalidInput(
                "daily_minute", "MINUTE_INVALID", "时间无效", "A minute of the day is 0 to 1439"
            )
        for field, days in (("order_days", self.order_days), ("silence_days", self.silence_days)):
            if not 0 <= days <= MOST_DAYS:
                raise InvalidInput(
                    field,
                    "DAYS_OUT_OF_RANGE",
                    "应为0到{most}天",
                    "This is a number of days from 0 to {most}",
                    most=MOST_DAYS,
                )


def day_of(now: datetime) -> tuple[datetime, datetime, datetime]:
    """Return when today, tomorrow and the day after begin, in China."""
    today = now.astimezone(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
    return today, today + timedelta(days=1), today + timedelta(days=2)
