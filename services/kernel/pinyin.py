"""First letters of Chinese names, as people type them to find somebody: 重庆长城ABC becomes cqccabc.

Words of two to four characters are looked up whole, so that a character with several readings gets the right one;
else its commonest. Source of the readings: the tables of pypinyin.
"""

import unicodedata
from functools import cache

from services.chassis.numbers import hide_numbers

# Longest words of the table that decide a reading.
LONGEST_WORD = 4


@cache
def _readings() -> tuple[dict[str, str], dict[str, str], dict[str, tuple[int, ...]]]:
    """Return letters by character and by word, and how long words are by their first two characters, longest first.

    Read once, when the first name is written or looked for.
    """
    from pypinyin.constants import PHRASES_DICT, PINYIN_DICT

    letters = {chr(code): _letter(readings.split(",")[0]) for code, readings in PINYIN_DICT.items()}
    words = {
        word: "".join(_letter(reading[0]) for reading in readings)
        for word, readings in PHRASES_DICT.items()
        if 1 < len(word) <= LONGEST_WORD and len(word) == len(readings)
    }
    # Most words read as their characters do; only the others are kept.
    others = {
        word: read for word, read in words.items() if read != "".join(letters.get(char, "") for char in word)
    }
    lengths: dict[str, set[int]] = {}
    for word in others:
        lengths.setdefault(word[:2], set()).add(len(word))
    return letters, others, {head: tuple(sorted(sizes, reverse=True)) for head, sizes in lengths.items()}


def _letter(reading: str) -> str:
    """Return the first letter of a syllable without its tone."""
    return unicodedata.normalize("NFD", reading)[:1].lower()


def initials(name: str) -> str:
    """Return the first letter of each Chinese character, Latin letters and digits as they are, small; nothing else.

    Of a telephone number only what everybody may see: lists are sorted by this, and page tokens tell it.
    """
    letters, words, lengths = _readings()
    text = unicodedata.normalize("NFKC", hide_numbers(name)).lower()
    result, at = [], 0
    while at < len(text):
        for length in lengths.get(text[at : at + 2], ()):
            if read := words.get(text[at : at + length]):
                result.append(read)
                at += length
                break
        else:
            char = text[at]
            result.append(char if char.isascii() and char.isalnum() else letters.get(char, ""))
            at += 1
    return "".join(result)
