"""Suspects: inquiries of different people that are perhaps one customer's (F154-F162)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.chassis.errors import InvalidInput, RuleViolation
from services.dedupe.domain.evidence import EVIDENCE_LIMITS, Evidence


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
    """Windows, thresholds and weights, configuration of a tenant (F162); limits in `LIMITS`.

    off: dimensions that raise no suspect. evidence: what it is worth.
    """

    window_days: int = 14
    product_likeness: float = 0.5
    product_surprise: float = 6.0
    address_likeness: float = 0.75
    scheme_likeness: float = 0.4
    hold_quotes: bool = True
    off: tuple[Dimension, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)


# Least and most of each number.
LIMITS = {
    "window_days": (1, 90),
    "product_likeness": (0.3, 1.0),
    "product_surprise": (1.0, 60.0),
    "address_likeness": (0.3, 1.0),
    "scheme_likeness": (0.1, 1.0),
}


def suspicion_from(stored: Mapping[str, Any]) -> Suspicion:
    """Return settings as they were stored; what was not known then is as preset."""
    off = tuple(map(Dimension, stored.get("off", ())))
    return Suspicion(**{**stored, "off": off, "evidence": Evidence(**stored.get("evidence", {}))})


def check_suspicion(settings: Suspicion) -> Suspicion:
    """Return settings that can be; raises InvalidInput SETTING_OUT_OF_RANGE naming the field."""
    _check_limits("settings", settings, LIMITS)
    _check_limits("settings.evidence", settings.evidence, EVIDENCE_LIMITS)
    return settings


def _check_limits(where: str, values: object, limits: Mapping[str, tuple[float, float]]) -> None:
    for name, (least, most) in limits.items():
        # Written so that what is no number is out of range too.
        if not least <= getattr(values, name) <= most:
            raise InvalidInput(
                f"{where}.{name}",
                "SETTING_OUT_OF_RANGE",
                "{name} 须在 {least} 到 {most} 之间",
                "{name} is {least} to {most}",
                name=name,
                least=str(least),
                most=str(most),
            )


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
