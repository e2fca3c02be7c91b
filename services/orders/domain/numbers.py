"""Numbers of orders, contracts and quotes for people: two letters, the day, and a counter of that day."""

from datetime import date, datetime, time, timedelta, timezone

# Days begin and end as the clocks in China do; there is no summer time.
BUSINESS_ZONE = timezone(timedelta(hours=8), "CST")


def business_day(moment: datetime) -> date:
    """Return the day in China of an aware time."""
    return moment.astimezone(BUSINESS_ZONE).date()


def begin_of(day: date) -> datetime:
    """Return when a day began in China."""
    return datetime.combine(day, time(), BUSINESS_ZONE)


def contract_number(day: date, count: int) -> str:
    """Return the number of a day's contract, count from 1: HT20261122-0001; five digits from the 10000th on."""
    return f"HT{day:%Y%m%d}-{count:04d}"


def order_number(day: date, count: int) -> str:
    """Return the number of a day's order, count from 1: SO20261122-0001; five digits from the 10000th on."""
    return f"SO{day:%Y%m%d}-{count:04d}"


def quote_number(day: date, count: int) -> str:
    """Return the number of a day's quote, count from 1: QT20261122-0001; five digits from the 10000th on."""
    return f"QT{day:%Y%m%d}-{count:04d}"
