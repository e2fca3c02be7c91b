"""Whether somebody can take a task at a time: leave, roster, calendar."""

from datetime import date, datetime

import pytest

from services.chassis.errors import InvalidInput
from services.identity.domain.schedules import (
    Duty,
    Hours,
    Presence,
    check_hours,
    check_weekdays,
    days_between,
    presence,
)
from services.kernel.china_time import CHINA
from services.kernel.working_days import WorkingCalendar

THURSDAY = date(2026, 3, 5)
FRIDAY = date(2026, 3, 6)
SATURDAY = date(2026, 3, 7)
NIGHT = Hours(22 * 60, 6 * 60)
LATE = Hours(14 * 60, 22 * 60)


def at(day: date, hour: int, *duties: Duty, active: bool = True, on_leave: bool = False) -> Presence:
    time = datetime(day.year, day.month, day.day, hour, tzinfo=CHINA)
    return presence(WorkingCalendar(), duties, time, active=active, on_leave=on_leave)


def test_without_a_roster_the_calendar_holds() -> None:
    """F135, O14."""
    assert at(FRIDAY, 9) == Presence.AVAILABLE
    assert at(FRIDAY, 8) == Presence.OFF_SHIFT
    assert at(FRIDAY, 18) == Presence.OFF_SHIFT
    assert at(SATURDAY, 9) == Presence.DAY_OFF


def test_a_roster_goes_before_the_calendar() -> None:
    assert at(SATURDAY, 15, Duty(SATURDAY, LATE)) == Presence.AVAILABLE
    assert at(FRIDAY, 9, Duty(FRIDAY, LATE)) == Presence.OFF_SHIFT
    assert at(FRIDAY, 9, Duty(FRIDAY, None)) == Presence.DAY_OFF


def test_a_night_shift_lasts_into_the_next_day() -> None:
    night = Duty(THURSDAY, NIGHT)
    assert at(THURSDAY, 23, night) == Presence.AVAILABLE
    assert at(FRIDAY, 5, night) == Presence.AVAILABLE
    assert at(FRIDAY, 5, night, Duty(FRIDAY, None)) == Presence.AVAILABLE
    assert at(FRIDAY, 6, night, Duty(FRIDAY, None)) == Presence.DAY_OFF
    assert at(FRIDAY, 3, Duty(FRIDAY, NIGHT)) == Presence.OFF_SHIFT


def test_leave_and_a_closed_account_go_before_everything() -> None:
    assert at(FRIDAY, 10, on_leave=True) == Presence.ON_LEAVE
    assert at(FRIDAY, 10, Duty(FRIDAY, LATE), on_leave=True) == Presence.ON_LEAVE
    assert at(FRIDAY, 10, active=False, on_leave=True) == Presence.INACTIVE


@pytest.mark.parametrize(
    ("start", "end", "over_midnight"), [(-1, 60, True), (0, 1441, True), (1440, 60, True), (600, 540, False)]
)
def test_hours_that_cannot_be_are_refused(start: int, end: int, over_midnight: bool) -> None:
    with pytest.raises(InvalidInput, match="HOURS_INVALID"):
        check_hours(start, end, "shift.start_minute", over_midnight=over_midnight)


def test_weekdays_and_spans_of_days_are_bounded() -> None:
    assert check_weekdays([7, 1, 1], "weekdays") == [1, 7]
    for bad in ([], [0], [8]):
        with pytest.raises(InvalidInput, match="WEEKDAYS_INVALID"):
            check_weekdays(bad, "weekdays")
    assert days_between(FRIDAY, SATURDAY, "last_day") == [FRIDAY, SATURDAY]
    for first, last in ((SATURDAY, FRIDAY), (FRIDAY, date(2027, 3, 7))):
        with pytest.raises(InvalidInput, match="DAYS_OUT_OF_RANGE"):
            days_between(first, last, "last_day")
