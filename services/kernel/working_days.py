"""Which days and hours people work: the week, the days that differ from it, and counting in working days.

Days and minutes are China's. identity keeps the calendar and answers who is there; whoever counts in working days takes
the calendar from its `calendar_saved` event.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from services.kernel.china_time import CHINA

# Minutes of a day.
DAY_MINUTES = 24 * 60
# Longest run of days without a working one that is looked through.
LONGEST_REST_DAYS = 366


@dataclass(frozen=True)
class WorkingCalendar:
    """When a tenant works. weekdays: 1 for Monday to 7 for Sunday.

    start_minute, end_minute: of a working day, after midnight, the end behind the start. days: those that differ, true
    for a working day: 调休 makes a Sunday one, a holiday makes a Monday none.
    """

    weekdays: Collection[int] = (1, 2, 3, 4, 5)
    start_minute: int = 9 * 60
    end_minute: int = 18 * 60
    days: Mapping[date, bool] = field(default_factory=dict)

    def works_on(self, day: date) -> bool:
        """Tell whether a day is a working one."""
        return self.days.get(day, day.isoweekday() in self.weekdays)

    def works_at(self, time: datetime) -> bool:
        """Tell whether a time lies in the hours of a working day."""
        local = time.astimezone(CHINA)
        return (
            self.works_on(local.date())
            and self.start_minute <= local.hour * 60 + local.minute < self.end_minute
        )

    def day_after(self, day: date, working_days: int) -> date:
        """Return the day that is this many working days behind another; 0: itself or the next working one.

        Raises ValueError for a calendar without any working day.
        """
        if not working_days and self.works_on(day):
            return day
        found, left, rested = day, max(working_days, 1), 0
        while left:
            found += timedelta(days=1)
            works = self.works_on(found)
            left -= works
            rested = 0 if works else rested + 1
            if rested > LONGEST_REST_DAYS:
                raise ValueError("the calendar has no working day")
        return found
