"""Who is there: shifts, leave, and whether somebody can take a task at a time.

Of what is said about somebody's day the most particular holds: leave before a shift or a day off, that before the
tenant's calendar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from services.chassis.errors import InvalidInput
from services.kernel.china_time import CHINA
from services.kernel.working_days import DAY_MINUTES, WorkingCalendar

# Days that one roster, one assignment or one leave may span.
MOST_DAYS = 366
# Days of people that one assignment may set.
MOST_DUTIES = 10_000
# Days that differ from the week, set at once.
MOST_CALENDAR_DAYS = 400
LONGEST_REASON = 200
# Of what is planned: days before and behind each can be reckoned with.
YEARS = range(1900, 3000)


class LeaveKind(StrEnum):
    """What somebody is away for."""

    ANNUAL = "annual"
    SICK = "sick"
    PERSONAL = "personal"
    TRIP = "trip"
    OTHER = "other"


class Presence(StrEnum):
    """Whether somebody can take a task, and if not, why."""

    AVAILABLE = "available"
    INACTIVE = "inactive"
    ON_LEAVE = "on_leave"
    DAY_OFF = "day_off"
    OFF_SHIFT = "off_shift"


@dataclass(frozen=True)
class Hours:
    """Hours of a shift, in minutes after midnight; an end at or before the start is on the next day."""

    start_minute: int
    end_minute: int

    @property
    def over_midnight(self) -> bool:
        """Tell whether the shift ends on the next day."""
        return self.end_minute <= self.start_minute


@dataclass(frozen=True)
class Duty:
    """What was set for somebody's day. hours: None for a day off."""

    day: date
    hours: Hours | None


def check_hours(start_minute: int, end_minute: int, field: str, *, over_midnight: bool) -> Hours:
    """Return hours that can hold; raises InvalidInput HOURS_INVALID naming the field.

    over_midnight: whether they may end on the next day.
    """
    in_day = 0 <= start_minute < DAY_MINUTES and 0 < end_minute <= DAY_MINUTES
    if not in_day or (end_minute <= start_minute and not over_midnight):
        raise InvalidInput(
            field,
            "HOURS_INVALID",
            "起止时间无效，应在 00:00 到 24:00 之间",
            "The hours are not valid: they lie between 00:00 and 24:00",
        )
    return Hours(start_minute, end_minute)


def check_weekdays(weekdays: Sequence[int], field: str) -> list[int]:
    """Return weekdays in order, each once, 1 for Monday; raises InvalidInput WEEKDAYS_INVALID for none or no such."""
    if not weekdays or not set(weekdays) <= set(range(1, 8)):
        raise InvalidInput(
            field,
            "WEEKDAYS_INVALID",
            "请至少选择一个工作日（1为周一，7为周日）",
            "Choose at least one working day, 1 for Monday to 7 for Sunday",
        )
    return sorted(set(weekdays))


def parse_day(text: str, field: str) -> date:
    """Return a day that is written as 2026-03-01; raises InvalidInput DAY_INVALID, also for one that nobody plans."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.year not in YEARS:
        raise InvalidInput(
            field,
            "DAY_INVALID",
            "日期格式应为 2026-03-01，年份在{first}到{last}之间",
            "A day is written as 2026-03-01, in a year from {first} to {last}",
            first=YEARS[0],
            last=YEARS[-1],
        )
    return day


def check_time(time: datetime, field: str) -> datetime:
    """Return a time of the years that people plan; raises InvalidInput TIME_INVALID."""
    if time.year not in YEARS:
        raise InvalidInput(
            field,
            "TIME_INVALID",
            "时间应在{first}年到{last}年之间",
            "A time is in a year from {first} to {last}",
            first=YEARS[0],
            last=YEARS[-1],
        )
    return time


def days_between(first: date, last: date, field: str) -> list[date]:
    """Return the days from the first to the last; raises InvalidInput DAYS_OUT_OF_RANGE for none, or over a year."""
    count = (last - first).days + 1
    if not 1 <= count <= MOST_DAYS:
        raise InvalidInput(
            field,
            "DAYS_OUT_OF_RANGE",
            "结束日期不能早于开始日期，且最多{most}天",
            "The last day is not before the first, and {most} days are the most",
            most=MOST_DAYS,
        )
    return [first + timedelta(days=offset) for offset in range(count)]


def check_leave(start: datetime, end: datetime, field: str) -> None:
    """Raise InvalidInput LEAVE_OUT_OF_RANGE unless a leave ends after it starts, within a year."""
    if not timedelta(0) < end - start <= timedelta(days=MOST_DAYS):
        raise InvalidInput(
            field,
            "LEAVE_OUT_OF_RANGE",
            "请假结束时间应晚于开始时间，且不超过{most}天",
            "A leave ends after it starts, within {most} days",
            most=MOST_DAYS,
        )


def presence(
    calendar: WorkingCalendar,
    duties: Sequence[Duty],
    time: datetime,
    *,
    active: bool,
    on_leave: bool,
) -> Presence:
    """Tell whether somebody can take a task at a time.

    duties: what was set for the day of that time and for the one before, whose shift may last over midnight.
    """
    if not active:
        return Presence.INACTIVE
    if on_leave:
        return Presence.ON_LEAVE
    local = time.astimezone(CHINA)
    today, minute = local.date(), local.hour * 60 + local.minute
    by_day = {duty.day: duty.hours for duty in duties}
    night = by_day.get(today - timedelta(days=1))
    if night and night.over_midnight and minute < night.end_minute:
        return Presence.AVAILABLE
    if today in by_day:
        hours = by_day[today]
        if hours is None:
            return Presence.DAY_OFF
        end = DAY_MINUTES if hours.over_midnight else hours.end_minute
        return Presence.AVAILABLE if hours.start_minute <= minute < end else Presence.OFF_SHIFT
    if not calendar.works_on(today):
        return Presence.DAY_OFF
    return Presence.AVAILABLE if calendar.works_at(time) else Presence.OFF_SHIFT
