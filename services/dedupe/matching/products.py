"""What is asked for: how much two inquiries are alike, and how surprising that is (F155, F156).

Likeness says whether two sets of products are the same; surprise, in bits, whether that means anything: a product that
everybody asks for says nothing, a non-standard part that two ask for in one week says a lot.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

from rapidfuzz.distance import Indel

from services.dedupe.matching.normalise import fold
from services.dedupe.matching.weights import Verdict

# Products of which so much is alike are one.
SAME_PRODUCT = 0.85
# Specifications that are less alike than this are of two things.
SAME_SPECIFICATION = 0.6
# Bits that agreeing specifications add: nobody writes the same non-standard text by chance.
SPECIFICATION_BITS = 3.0
# As many inquirers are taken as a base where fewer were seen: two of two prove nothing, nor do they refute it.
FEWEST_INQUIRERS = 100
# How far two numbers of a specification may lie apart and still count as equal, as a part of the larger.
TOLERANCE = 0.05
# A set is the same from this likeness on.
SAME_SET = 0.9
WORD = re.compile(r"\d+(?:\.\d+)?|[a-z]+|[^\W\da-z]+")


@dataclass(frozen=True)
class Item:
    """A line of an inquiry. product: folded name or number. specification: as typed, may be empty."""

    product: str
    specification: str = ""


@dataclass(frozen=True)
class SetMatch:
    """How two sets of products compare.

    likeness: 0 to 1. surprise: in bits. shared: the products in both; bits: the surprise of each.
    """

    verdict: Verdict
    likeness: float
    surprise: float
    shared: tuple[str, ...]
    bits: tuple[float, ...] = ()


def item_of(product: str, specification: str) -> Item:
    """Return a line as it is compared."""
    return Item(fold(product), specification)


def compare_sets(
    one: Sequence[Item],
    other: Sequence[Item],
    askers: Mapping[str, int],
    inquirers: int,
    near_likeness: float,
    near_bits: float,
    specification_bits: float = SPECIFICATION_BITS,
) -> SetMatch:
    """Return the verdict on two sets of products.

    askers: by product, how many inquirers of the window asked for it. inquirers: of the window. near_likeness,
    near_bits: from which on two sets are near. specification_bits: what agreeing specifications add to a product.
    """
    base = max(inquirers, FEWEST_INQUIRERS)

    def bits(item: Item) -> float:
        return log2(base / min(max(askers.get(item.product, 1), 1), base))

    left = list(other)
    likeness = surprise = 0.0
    shared: list[str] = []
    parts: list[float] = []
    for item in one:
        best = max(left, key=lambda candidate: compare_items(item, candidate), default=None)
        if best is None or not (alike := compare_items(item, best)):
            continue
        left.remove(best)
        shared.append(item.product)
        likeness += alike
        # Of two spellings the one counts that more have asked for.
        part = alike * min(bits(item), bits(best))
        if item.specification and best.specification:
            part += alike * specification_bits
        parts.append(round(part, 1))
        surprise += part
    likeness /= max(len(one) + len(other) - len(shared), 1)
    verdict = Verdict.DIFFERENT
    if likeness >= near_likeness and surprise >= near_bits:
        verdict = Verdict.SAME if likeness >= SAME_SET else Verdict.NEAR
    return SetMatch(verdict, round(likeness, 3), round(surprise, 1), tuple(shared), tuple(parts))


def compare_items(one: Item, other: Item) -> float:
    """Return how alike two lines are, 0 when they are two products or of two specifications."""
    product = Indel.normalized_similarity(one.product, other.product)
    if product < SAME_PRODUCT:
        return 0.0
    if not one.specification or not other.specification:
        return product
    specification = compare_specifications(one.specification, other.specification)
    return product * specification if specification >= SAME_SPECIFICATION else 0.0


def compare_specifications(one: str, other: str) -> float:
    """Return how alike two free texts are, 0 to 1: word by word, numbers as numbers, in any order."""
    first, second = _words(one), _words(other)
    if not first or not second:
        return 0.0
    left = list(second)
    score = 0.0
    for word in first:
        best = max(left, key=lambda candidate: _compare_words(word, candidate), default=None)
        if best is not None and (alike := _compare_words(word, best)) >= SAME_SPECIFICATION:
            left.remove(best)
            score += alike
    return 2 * score / (len(first) + len(second))


def _words(text: str) -> list[str]:
    # Points and signs between numbers are told apart before folding takes them away.
    return [fold(word) if not word[0].isdecimal() else word for word in WORD.findall(text.casefold())]


def _compare_words(one: str, other: str) -> float:
    # The ² of a cable's mm² is a digit too, and no number.
    if one[:1].isdecimal() and other[:1].isdecimal():
        low, high = sorted((float(one), float(other)))
        return 1.0 if high - low <= TOLERANCE * high else 0.0
    return float(Indel.normalized_similarity(one, other))
