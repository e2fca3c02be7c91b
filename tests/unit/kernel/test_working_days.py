"""Working days: the week, holidays and weekends that are worked instead."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.working_days import WorkingCalendar

# National day 2026: the holiday lies on working days, Sunday 27 September and Saturday 10 October are worked instead.
GOLDEN_WEEK = WorkingCalendar(
    days={
        **{date(2026, 10, day): False for day in range(1, 8)},
        date(2026, 9, 27): True,
        date(2026, 10, 10): True,
    }
)


def test_a_day_that_differs_goes_before_the_week() -> None:
    """O14."""
    assert GOLDEN_WEEK.works_on(date(2026, 9, 27))
    assert not GOLDEN_WEEK.works_on(date(2026, 10, 1))
    assert not GOLDEN_WEEK.works_on(date(2026, 10, 11))
    assert GOLDEN_WEEK.works_on(date(2026, 10, 8))


def test_hours_are_chinas() -> None:
    assert GOLDEN_WEEK.works_at(datetime(2026, 10, 8, 1, 0, tzinfo=UTC))
    assert not GOLDEN_WEEK.works_at(datetime(2026, 10, 8, 0, 59, tzinfo=UTC))
    assert not GOLDEN_WEEK.works_at(datetime(2026, 10, 8, 10, 0, tzinfo=UTC))


def test_counting_passes_over_days_without_work() -> None:
    assert GOLDEN_WEEK.day_after(date(2026, 9, 30), 1) == date(2026, 10, 8)
    assert GOLDEN_WEEK.day_after(date(2026, 10, 9), 1) == date(2026, 10, 10)
    assert GOLDEN_WEEK.day_after(date(2026, 10, 10), 1) == date(2026, 10, 12)
    assert GOLDEN_WEEK.day_after(date(2026, 10, 3), 0) == date(2026, 10, 8)
    assert GOLDEN_WEEK.day_after(date(2026, 10, 8), 0) == date(2026, 10, 8)


def test_a_calendar_without_work_is_not_counted_in_for_ever() -> None:
    with pytest.raises(ValueError, match="no working day"):
        WorkingCalendar(weekdays=()).day_after(date(2026, 1, 1), 1)


@given(
    st.sets(st.integers(1, 7), min_size=1),
    st.dictionaries(st.dates(date(2026, 1, 1), date(2026, 3, 1)), st.booleans(), max_size=20),
    st.dates(date(2026, 1, 1), date(2026, 2, 1)),
    st.integers(1, 30),
)
def test_as_many_working_days_lie_between_as_were_counted(
    weekdays: set[int], days: dict[date, bool], day: date, count: int
) -> None:
    calendar = WorkingCalendar(weekdays=weekdays, days=days)
    found = calendar.day_after(day, count)
    between = [day + timedelta(days=offset) for offset in range(1, (found - day).days + 1)]
    assert calendar.works_on(found)
    assert sum(calendar.works_on(each) for each in between) == count
