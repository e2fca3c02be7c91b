"""The limits of what a tenant may set for orders."""

from datetime import timedelta

from services.chassis.errors import InvalidInput

# How long an order may wait for its owner where the tenant set nothing.
DEFAULT_HANDLE_WITHIN = timedelta(hours=24)
SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=30)


def check_handle_within(value: timedelta) -> timedelta:
    """Return the value; raises InvalidInput HANDLE_WITHIN_OUT_OF_RANGE beyond 1 second to 30 days."""
    if not SHORTEST <= value <= LONGEST:
        raise InvalidInput(
            "settings.handle_within",
            "HANDLE_WITHIN_OUT_OF_RANGE",
            "订单处理时限须在 1 秒到 {days} 天之间",
            "The time to handle an order is 1 second to {days} days",
            days=LONGEST.days,
        )
    return value
