"""Take a Chinese company name apart: region, brand, trade, legal form, in one spelling and as it sounds.

Folded: full and half width, case, traditional and simplified, separators and brackets. A region is taken off only
where it cannot be a brand: a county without its suffix counts only behind its own city or province (上海康平实业
keeps its brand, although 康平 is a county of 沈阳).
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from opencc import OpenCC
from pypinyin.pinyin_dict import pinyin_dict

DATA = Path(__file__).parent / "data"
# Longest name that is looked at; what is behind can't tell two companies apart.
LONGEST = 120

# Legal forms and what stands for them, the longest first where one ends another.
LEGAL_FORMS = tuple(
    sorted(
        (
            "股份有限责任公司",
            "股份有限公司",
            "有限责任公司",
            "有限责任",
            "股份公司",
            "集团有限公司",
            "集团股份有限公司",
            "有限公司",
            "集团公司",
            "总公司",
            "分公司",
            "子公司",
            "个人独资企业",
            "有限合伙企业",
            "有限合伙",
            "普通合伙",
            "特殊普通合伙",
            "个人独资",
            "合伙企业",
            "个体工商户",
            "股份",
            "集团",
            "公司",
            "有限",
            "coltd",
            "companylimited",
            "limited",
            "corporation",
            "company",
            "ltd",
            "inc",
            "corp",
            "llc",
            "gmbh",
            "co",
        ),
        key=len,
        reverse=True,
    )
)
FORMS_BY_END = {
    end: tuple(form for form in LEGAL_FORMS if form.endswith(end))
    for end in {form[-1] for form in LEGAL_FORMS}
}
# What may stand in brackets and says nothing about who it is.
BRACKETED_FORMS = frozenset(("有限合伙", "普通合伙", "个人独资", "特殊普通合伙", "中国"))
# Where provinces and the like end; taken off to get the short name.
REGION_SUFFIXES = (
    "特别行政区",
    "维吾尔自治区",
    "壮族自治区",
    "回族自治区",
    "自治区",
    "自治州",
    "自治县",
    "自治旗",
    "地区",
    "林区",
    "矿区",
    "省",
    "市",
    "盟",
    "州",
    "县",
    "区",
    "旗",
)
PEOPLES = re.compile(
    "(?:(?:朝鲜|土家|哈尼|彝|白|傣|景颇|傈僳|藏|羌|苗|侗|布依|回|蒙古|哈萨克|柯尔克孜|壮|瑶|黎|畲|满|维吾尔|仫佬|毛南|水|"
    "仡佬|拉祜|佤|纳西|布朗|独龙|怒|普米|撒拉|东乡|保安|裕固|土|塔吉克|锡伯|鄂温克|鄂伦春|达斡尔)族)+(?=自治)|(?:蒙古)(?=自治)"
)
# Regions that the list of divisions does not have.
MORE_REGIONS = (("香港", "81"), ("澳门", "82"), ("台湾", "71"), ("浦东", "310115"), ("前海", "440305"))

# Single characters at the end of a name that say what kind of place it is.
SHOPS = frozenset("店厂行坊部场馆社")

# The pinyin of a Latin word is cut into syllables of at most so many letters.
LONGEST_SYLLABLE = 6
BRACKETS = str.maketrans("【】〔〕[]{}《》〈〉「」", "()()()()()()()")
BRACKETED = re.compile(r"\(([^()]*)\)")
NEITHER_WORD_NOR_BRACKET = re.compile(r"[^\w()]|_")
BRACKET = re.compile(r"[()]")
LATIN = re.compile(r"[a-z]+")
# Lengths of words by two of their characters, the longest first.
Lengths = Mapping[str, tuple[int, ...]]


class Name(NamedTuple):
    """A company name taken apart.

    whole: all of it, folded, without separators. core: without region and legal form. brand: what is left without the
    trade at its end; the core where nothing would be left. regions: codes by GB/T 2260, the nearest to the head first.
    sound: one character for each folded syllable of the core; equal sounds are equal characters.
    """

    whole: str
    core: str
    brand: str
    regions: tuple[str, ...]
    sound: str

    @property
    def trade(self) -> str:
        """What the core has behind the brand."""
        return self.core[len(self.brand) :]


def normalise(name: str) -> Name:
    """Return a name taken apart; all parts are empty when nothing in it is a letter or a digit."""
    folded = fold(name[:LONGEST])
    whole = BRACKET.sub("", folded)
    regions: list[str] = []

    def bracket(match: re.Match[str]) -> str:
        inner = match.group(1)
        if codes := _regions().get(inner):
            regions.append(min((code for code, _ in codes), key=len))
            return ""
        return "" if inner in BRACKETED_FORMS else inner

    rest = BRACKET.sub("", BRACKETED.sub(bracket, folded))
    rest = _without_legal_form(rest)
    rest, leading = _without_regions(rest)
    rest, trailing = _without_region_at_end(rest)
    core = rest if len(rest) >= 2 else _without_legal_form(whole)
    return Name(
        whole=whole,
        core=core,
        brand=_brand(core),
        regions=tuple(dict.fromkeys((*leading, *regions, *trailing))),
        sound=sound_of(core),
    )


def fold(text: str) -> str:
    """Return a text in one width, case and script, without blanks and marks; round brackets stay."""
    wide = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return NEITHER_WORD_NOR_BRACKET.sub("", _simplifier().convert(wide.translate(BRACKETS)))


def sound_of(text: str) -> str:
    """Return how a folded text sounds: zh as z, ng as n; a Latin word counts as pinyin where it can be read so."""
    return LATIN.sub(_spelt, text).translate(_sounds())


def _spelt(word: re.Match[str]) -> str:
    sounds = [chr(_syllables()[_folded(syllable)]) for syllable in _cut(word.group())]
    return "".join(sounds) or word.group()


def reading(char: str) -> str:
    """Return the first reading of a character in pinyin without tone, "" for none."""
    return _readings().get(ord(char), "")


def _without_legal_form(text: str) -> str:
    for _ in range(3):
        forms = FORMS_BY_END.get(text[-1:], ())
        form = next((form for form in forms if text.endswith(form) and len(text) - len(form) >= 2), "")
        if not form:
            break
        text = text[: -len(form)]
    return text


def _without_regions(text: str) -> tuple[str, list[str]]:
    codes: list[str] = []
    for _ in range(3):
        code, length = _region_at_head(text, codes)
        if not length:
            break
        codes.append(code)
        text = text[length:]
        if len(text) > 3 and text[0] in "省市":
            text = text[1:]
    return text, codes


def _region_at_head(text: str, parents: list[str]) -> tuple[str, int]:
    known = _regions()
    for length in _region_lengths()[0].get(text[:2], ()):
        if length > len(text) - 2:
            continue
        for code, stands_alone in known.get(text[:length], ()):
            if parents:
                if any(code.startswith(parent) or parent.startswith(code) for parent in parents):
                    return code, length
            elif stands_alone:
                return code, length
    return "", 0


def _without_region_at_end(text: str) -> tuple[str, list[str]]:
    """Take off a province or city behind a name that says something without it: 环球国际航运青岛."""
    for length in _region_lengths()[1].get(text[-2:], ()):
        if length > len(text) - 4:
            continue
        code = next(
            (code for code, alone in _regions().get(text[-length:], ()) if alone and len(code) <= 4), ""
        )
        if code:
            return text[:-length], [code]
    return text, []


def _brand(core: str) -> str:
    """Return the core without the words of trade at its end, at least two characters."""
    trades, lengths = _trades()
    end = len(core)
    while end > 2:
        length = next(
            (
                size
                for size in lengths.get(core[end - 2 : end], ())
                if size <= end - 2 and core[end - size : end] in trades
            ),
            0,
        )
        if not length and core[end - 1] in SHOPS and end > 3:
            length = 1
        if not length:
            break
        end -= length
    return core[:end]


@cache
def _simplifier() -> OpenCC:
    return OpenCC("t2s")


@cache
def _regions() -> dict[str, tuple[tuple[str, bool], ...]]:
    """Return code and whether it counts without a parent before it, by each name of a region; shortest codes first."""
    found: dict[str, list[tuple[str, bool]]] = {}
    with (DATA / "regions.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            code, name = row["code"], row["name"]
            found.setdefault(name, []).append((code, True))
            short = _short_region(name)
            if short != name and len(short) >= 2:
                found.setdefault(short, []).append((code, len(code) <= 4))
    for name, code in MORE_REGIONS:
        found.setdefault(name, []).append((code, True))
    return {name: tuple(sorted(codes, key=lambda item: len(item[0]))) for name, codes in found.items()}


def _short_region(name: str) -> str:
    bare = PEOPLES.sub("", name)
    suffix = next((end for end in REGION_SUFFIXES if bare.endswith(end) and len(bare) - len(end) >= 2), "")
    return bare[: -len(suffix)] if suffix else bare


@cache
def _region_lengths() -> tuple[Lengths, Lengths]:
    """Return how long the names of regions are, by their first two characters and by their last two."""
    return _lengths(_regions(), at_end=False), _lengths(_regions(), at_end=True)


@cache
def _trades() -> tuple[frozenset[str], Lengths]:
    """Return the words of trade, and how long they are by their last two characters."""
    words = frozenset((DATA / "trades.txt").read_text(encoding="utf-8").split())
    return words, _lengths(words, at_end=True)


def _lengths(words: Iterable[str], *, at_end: bool) -> Lengths:
    found: dict[str, set[int]] = {}
    for word in words:
        if len(word) >= 2:
            found.setdefault(word[-2:] if at_end else word[:2], set()).add(len(word))
    return {pair: tuple(sorted(lengths, reverse=True)) for pair, lengths in found.items()}


def _plain(syllable: str) -> str:
    """Return a syllable without its tone; ü as v."""
    bare = unicodedata.normalize("NFD", syllable).replace("u\u0308", "v")
    return "".join(char for char in bare if "a" <= char <= "z")


def _folded(syllable: str) -> str:
    if syllable[:2] in ("zh", "ch", "sh"):
        syllable = syllable[0] + syllable[2:]
    return syllable[:-1] if syllable.endswith("ng") else syllable


@cache
def _readings() -> dict[int, str]:
    """Return the first reading of each character, without tone."""
    return {
        code: plain
        for code, readings in pinyin_dict.items()
        if (plain := _plain(readings.partition(",")[0])) and code <= 0xFFFF
    }


@cache
def _syllables() -> dict[str, int]:
    """Return a character's number for each folded syllable, in Unicode's private area."""
    return {
        syllable: 0xE000 + number
        for number, syllable in enumerate(sorted(set(map(_folded, _readings().values()))))
    }


@cache
def _sounds() -> dict[int, int]:
    return {code: _syllables()[_folded(reading)] for code, reading in _readings().items()}


@lru_cache(maxsize=4096)
def _cut(word: str) -> tuple[str, ...]:
    """Return a Latin word as pinyin syllables, as few as possible; empty when it cannot be read so."""
    known = _known_syllables()
    best: list[tuple[str, ...] | None] = [()] + [None] * len(word)
    for start in range(len(word)):
        before = best[start]
        if before is None:
            continue
        for end in range(start + 1, min(start + LONGEST_SYLLABLE, len(word)) + 1):
            if word[start:end] in known:
                now = best[end]
                if now is None or len(now) > len(before) + 1:
                    best[end] = (*before, word[start:end])
    return (best[-1] or ()) if len(word) > 1 else ()


@cache
def _known_syllables() -> frozenset[str]:
    return frozenset(_readings().values())
