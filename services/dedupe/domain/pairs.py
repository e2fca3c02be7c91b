"""What becomes of two customers that a scan found alike (F166)."""

from enum import StrEnum

from services.chassis.errors import RuleViolation


class PairState(StrEnum):
    """OPEN waits for a person. DISMISSED is for good; CONFIRMED may be merged, and is MERGED then."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"
    MERGED = "merged"


def check_decidable(state: str) -> None:
    """Raise RuleViolation PAIR_DECIDED for one that was dismissed or merged; a confirmed one may yet be dismissed."""
    if state not in (PairState.OPEN, PairState.CONFIRMED):
        raise RuleViolation("PAIR_DECIDED", "该疑似重复已处理", "This pair was decided already")
