"""What can become of a reservation."""

from datetime import timedelta
from enum import StrEnum

# How long a writer has before it is asked what became of its reservation.
SETTLE_AFTER = timedelta(seconds=60)


class ReservationState(StrEnum):
    """RESERVED ends in CONFIRMED or CANCELLED. CONFIRMED can still be cancelled; CANCELLED is for good."""

    RESERVED = "reserved"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
