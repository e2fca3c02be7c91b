"""How much two addresses are alike: the words by their characters, the numbers as numbers."""

import re

from rapidfuzz.distance import Indel

from services.dedupe.matching.normalise import fold

NUMBER = re.compile(r"\d+")
# What an address loses of its likeness when the house numbers differ.
OTHER_NUMBER = 0.7


def compare_addresses(one: str, other: str) -> float:
    """Return how alike two addresses are, 0 to 1; another house number on the same street is another place."""
    first, second = fold(one), fold(other)
    if not first or not second:
        return 0.0
    words = _words(first, second)
    numbers, others = NUMBER.findall(first), NUMBER.findall(second)
    return words * (1.0 if not numbers or not others or numbers[0] == others[0] else OTHER_NUMBER)


def _words(first: str, second: str) -> float:
    short, long = sorted((NUMBER.sub("", first), NUMBER.sub("", second)), key=len)
    # One may leave out the province and the city at the head.
    if len(short) >= 4 and long.endswith(short):
        return 1.0
    return Indel.normalized_similarity(short, long)


def compare_schemes(one: str, other: str) -> float:
    """Return how alike two descriptions of a project's scheme are, 0 to 1, by their pairs of characters (Dice)."""
    first, second = _pairs(fold(one)), _pairs(fold(other))
    total = len(first) + len(second)
    return 2 * len(first & second) / total if total else 0.0


def _pairs(text: str) -> set[str]:
    return {text[place : place + 2] for place in range(len(text) - 1)}
