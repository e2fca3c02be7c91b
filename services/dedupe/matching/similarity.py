"""How much two names are alike, from 0 to 1, by what a person would compare: brand, trade, spelling, sound."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz.distance import OSA, Indel

from services.dedupe.matching.normalise import Name, sound_of

# How much less a name counts that only sounds alike.
SOUND_DISCOUNT = 0.97
# What the brand is worth against the trade behind it.
BRAND_SHARE = 0.7
# A short form: the other name begins with it. 东方明珠 and 东方明珠传媒.
SHORT_FORM = 0.9
# One slip of the finger, and the shortest name in which it is one: 金通 and 通金 are two companies.
SLIP = 0.86
SHORTEST_SLIP = 4
# Names with fewer characters than this are short forms of too much.
SHORTEST_SHORT_FORM = 2


class NameLikeness(NamedTuple):
    """How alike two names are. score: 0 to 1. regions: 1 agree, -1 conflict, 0 when one has none."""

    score: float
    regions: int


def compare_names(one: Name, other: Name) -> NameLikeness:
    """Return how alike two names are; 0 where one of them is empty."""
    if not one.core or not other.core:
        return NameLikeness(0.0, 0)
    return NameLikeness(core_likeness(one, other), compare_regions(one.regions, other.regions))


def core_likeness(one: Name, other: Name) -> float:
    """Return how alike the names without region and legal form are."""
    whole, settled = _whole_likeness(one, other.core, other.sound)
    if settled:
        return whole
    trade, other_trade = one.trade, other.trade
    if not trade or not other_trade:
        return whole
    brand = max(
        Indel.normalized_similarity(one.brand, other.brand),
        SOUND_DISCOUNT * Indel.normalized_similarity(_brand_sound(one), _brand_sound(other)),
    )
    trades = Indel.normalized_similarity(trade, other_trade)
    return min(whole, BRAND_SHARE * brand + (1 - BRAND_SHARE) * trades)


def most_likeness(one: Name, core: str, sound: str) -> float:
    """Return how alike a name may be at most to one of which only core and sound are known."""
    return _whole_likeness(one, core, sound)[0]


def least_spelling(least: float) -> float:
    """Return how alike two cores must be spelt for their names to be so much alike, unless by sound or as a short form.

    Of a slip the most is changed by two characters that are swapped: one of them, in the shortest name.
    """
    return min(least, 1 - 1 / SHORTEST_SLIP)


def _whole_likeness(one: Name, core: str, sound: str) -> tuple[float, bool]:
    """Return how alike two cores are, and whether that settles it; else brands and trades may say less."""
    if one.core == core:
        return 1.0, True
    whole = max(
        Indel.normalized_similarity(one.core, core),
        SOUND_DISCOUNT * Indel.normalized_similarity(one.sound, sound),
    )
    if one.core.startswith(core) or core.startswith(one.core):
        short = min(len(one.core), len(core))
        if short >= SHORTEST_SHORT_FORM:
            # The longer the short form is, the less else it can stand for.
            return max(whole, SHORT_FORM * min(1.0, 0.7 + 0.1 * short)), True
    if _is_slip(one.core, core):
        return max(whole, SLIP), True
    return whole, False


def _is_slip(one: str, other: str) -> bool:
    """Tell whether a finger slipped once: two characters swapped, or one left out; a wrong one is another name."""
    if min(len(one), len(other)) < SHORTEST_SLIP or OSA.distance(one, other, score_cutoff=1) > 1:
        return False
    return len(one) != len(other) or sorted(one) == sorted(other)


def _brand_sound(name: Name) -> str:
    """Return the brand's sounds; a Latin word has another number of them than letters."""
    return name.sound[: len(name.brand)] if len(name.sound) == len(name.core) else _sound_of(name.brand)


# A name that is looked for is compared with many.
_sound_of = lru_cache(maxsize=1024)(sound_of)


def compare_regions(one: Sequence[str], other: Sequence[str]) -> int:
    """Return 1 when one region lies in the other, -1 when they lie apart, 0 when one is not known."""
    if not one or not other:
        return 0
    for a in one:
        for b in other:
            if a.startswith(b) or b.startswith(a):
                return 1
    return -1
