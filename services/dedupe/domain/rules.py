"""Rules: what follows from a hit, and where they hold (F147-F149)."""

from collections.abc import Iterable
from enum import StrEnum

from services.chassis.errors import InvalidInput, RuleViolation
from services.dedupe.domain.keys import RuleField

# Scores that a rule of similarity may begin at, in bits.
LEAST_THRESHOLD, MOST_THRESHOLD = 1.0, 40.0
# A rule that more than this part of the newest customers would hit is none.
WIDEST = 0.1


class Verdict(StrEnum):
    """What follows from a hit. Of several hits the strongest counts, and BLOCK is the strongest of all (O2).

    BLOCK fails the create. REVIEW lets it go on, and a person says afterwards whether the two are one. LIST lets it go
    on and shows what was found.
    """

    BLOCK = "block"
    REVIEW = "review"
    LIST = "list"


def strongest(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the strongest verdict (O2), None of none: as they are defined."""
    return min(verdicts, key=list(Verdict).index, default=None)


class Entrance(StrEnum):
    """By which way a record comes in."""

    FORM = "form"
    IMPORT = "import"
    API = "api"
    CALL_POP = "call_pop"


def check_threshold(field: str, threshold: float) -> float:
    """Return a threshold that a rule may have.

    Raises InvalidInput THRESHOLD_UNFIT for a rule of equal keys, THRESHOLD_OUT_OF_RANGE.
    """
    if field != RuleField.SIMILAR:
        raise InvalidInput(
            "threshold",
            "THRESHOLD_UNFIT",
            "只有相似规则可以设置阈值",
            "Only the rule of similarity has a threshold",
        )
    if not LEAST_THRESHOLD <= threshold <= MOST_THRESHOLD:
        raise InvalidInput(
            "threshold",
            "THRESHOLD_OUT_OF_RANGE",
            "阈值须在 {least} 到 {most} 之间",
            "The threshold is {least} to {most}",
            least=int(LEAST_THRESHOLD),
            most=int(MOST_THRESHOLD),
        )
    return threshold


def check_width(hit: int, tried: int) -> None:
    """Raise RuleViolation RULE_TOO_WIDE when a rule would hit too many of the customers it was tried on."""
    if tried >= 20 and hit > WIDEST * tried:
        raise RuleViolation(
            "RULE_TOO_WIDE",
            "该规则过宽：最近 {tried} 个客户中有 {hit} 个会命中",
            "The rule is too wide: it would hit {hit} of the newest {tried} customers",
            hit=hit,
            tried=tried,
        )
