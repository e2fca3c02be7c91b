"""Suspects: inquiries of different people that are perhaps one customer's (F154-F162)."""

from dataclasses import dataclass, fields
from enum import StrEnum

from services.chassis.errors import InvalidInput, RuleViolation


class Dimension(StrEnum):
    """What raised a suspect."""

    PRODUCT = "product"
    PROJECT = "project"


class SuspectState(StrEnum):
    """OPEN waits for a person, who says once which of the others it is."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


@dataclass(frozen=True)
class Suspicion:
    """Windows and thresholds, configuration of a tenant (F162); limits in `LIMITS`."""

    window_days: int = 14
    product_likeness: float = 0.5
    product_surprise: float = 6.0
    address_likeness: float = 0.75
    scheme_likeness: float = 0.4
    hold_quotes: bool = True


# Least and most of each number.
LIMITS = {
    "window_days": (1, 90),
    "product_likeness": (0.3, 1.0),
    "product_surprise": (1.0, 60.0),
    "address_likeness": (0.3, 1.0),
    "scheme_likeness": (0.1, 1.0),
}


def check_suspicion(settings: Suspicion) -> Suspicion:
    """Return settings that can be; raises InvalidInput SETTING_OUT_OF_RANGE naming the field."""
    for field in fields(settings):
        if field.name in LIMITS:
            least, most = LIMITS[field.name]
            if not least <= getattr(settings, field.name) <= most:
                raise InvalidInput(
                    f"settings.{field.name}",
                    "SETTING_OUT_OF_RANGE",
                    "{name} 须在 {least} 到 {most} 之间",
                    "{name} is {least} to {most}",
                    name=field.name,
                    least=str(least),
                    most=str(most),
                )
    return settings


def check_open(state: str) -> None:
    """Raise RuleViolation SUSPECT_DECIDED for one that somebody decided."""
    if state != SuspectState.OPEN:
        raise RuleViolation("SUSPECT_DECIDED", "该疑似项已处理", "Somebody decided this suspect already")


def quote_held(suspect_id: str) -> RuleViolation:
    """Return the refusal of a second quote to what is perhaps one customer (F160)."""
    return RuleViolation(
        "QUOTE_HELD",
        "疑似同一客户已有报价，须等人工审核",
        "Perhaps the same customer has a quote already; wait for the review",
        suspect_id=suspect_id,
    )
