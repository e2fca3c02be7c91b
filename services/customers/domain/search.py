"""What the quick search finds a name by: pieces of it in an index, and a look at the whole.

Each character of a name and any two next to each other are a piece, any three next to each other in its pinyin initials
too, and so is what those begin with: a search for one or two letters finds what begins so.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from operator import add
from typing import TypedDict

from services.kernel.phones import match_number
from services.kernel.pinyin import initials

# Pieces of initials carry a mark, so that they never meet those of names; so do the beginnings.
INITIALS_MARK = "~"
START_MARK = "^"
NAME_PIECE = 2
INITIALS_PIECE = 3
LATIN = re.compile(r"[a-z0-9]+")
# Last digits of a number that are enough to look for it.
FEWEST_DIGITS = 4


def fold(name: str) -> str:
    """Return a name as it is compared: full and half width, capital and small letters are the same, no blanks."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", name).lower())


class Found(TypedDict):
    """What a name is found by, as the customer's columns have it."""

    search_name: str
    initials: str
    pieces: list[str]


def found_by(name: str) -> Found:
    """Return what a name is found by."""
    folded, letters = fold(name), initials(name)
    return {"search_name": folded, "initials": letters, "pieces": _all_pieces(folded, letters)}


def name_pieces(name: str) -> list[str]:
    """Return the pieces under which a name is found."""
    return _all_pieces(fold(name), initials(name))


def _all_pieces(folded: str, letters: str) -> list[str]:
    marked = INITIALS_MARK + START_MARK
    # Two neighbours are put together by `add`, for an import does it for each of 100,000 names.
    pieces = {*folded, *map(add, folded, folded[1:]), marked + letters[:1], marked + letters[:2]}
    pieces.update([INITIALS_MARK + piece for piece in _pieces(letters, INITIALS_PIECE)])
    return sorted(pieces)


def _pieces(text: str, length: int) -> set[str]:
    return {text[at : at + length] for at in range(len(text) - length + 1)}


# What company names end with, and its initials: to ask for them here would read the table of readings in every process.
NAME_ENDS = (("有限公司", "yxgs"), ("有限责任公司", "yxzrgs"), ("股份有限公司", "gfyxgs"))
# Nearly every name has their pieces, so they narrow nothing down, and each would be a list of nearly every name to go
# through.
SHARED = frozenset(
    piece
    for end, letters in NAME_ENDS
    for piece in (
        *_pieces(end, NAME_PIECE),
        *(INITIALS_MARK + marked for marked in _pieces(letters, INITIALS_PIECE)),
    )
)


def _telling(pieces: Iterable[str]) -> tuple[str, ...]:
    """Return which of the pieces that all have to be there are worth looking up; at least one."""
    ordered = sorted(pieces)
    return tuple(piece for piece in ordered if piece not in SHARED) or tuple(ordered[:1])


@dataclass(frozen=True)
class Search:
    """What to look for. pieces: all have to be there. name, letters: part of the folded name, or of the initials.

    start: it has to begin so. number: a whole number in E.164. digits: the last ones of a number.
    """

    pieces: tuple[str, ...]
    name: str = ""
    letters: str = ""
    start: bool = False
    number: str = ""
    digits: str = ""


def parse_search(text: str) -> Search:
    """Return what a text that somebody typed asks for."""
    folded = fold(text)
    number = match_number(text)
    digits = folded if folded.isascii() and folded.isdigit() and len(folded) >= FEWEST_DIGITS else ""
    # Digits of a name are not sought in its initials, which hold no number.
    if LATIN.fullmatch(folded) and not folded.isdigit():
        start = len(folded) < INITIALS_PIECE
        pieces = {START_MARK + folded} if start else _pieces(folded, INITIALS_PIECE)
        marked = _telling(INITIALS_MARK + piece for piece in pieces)
        return Search(marked, letters=folded, start=start, number=number, digits=digits)
    pieces = {folded} if len(folded) < NAME_PIECE else _pieces(folded, NAME_PIECE)
    return Search(_telling(pieces), name=folded, number=number, digits=digits)
