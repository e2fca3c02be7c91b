"""Days and times as people in China read them; inside, every time is an aware UTC one."""

from datetime import datetime, timedelta, timezone

# One zone for the whole country, without summer time since 1991.
CHINA = timezone(timedelta(hours=8), "Asia/Shanghai")


def day_start(time: datetime) -> datetime:
    """Return when the day that this time belongs to began in China."""
    return time.astimezone(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)


def display_time(time: datetime) -> str:
    """Return a time to the minute for a message: 2026-03-01 09:30."""
    return time.astimezone(CHINA).isoformat(" ", "minutes").partition("+")[0]
