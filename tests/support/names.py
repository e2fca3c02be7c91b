"""Company names to try matching on: composed, and spoilt as people spoil them; the same seed gives the same ones.

A brand is one of the real ones in `tests/fixtures/names/brands.txt` or the head of one with the tail of another.
Regions, trades and legal forms are real ones, a few common and many rare; some names have no region.
"""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

from opencc import OpenCC

from services.dedupe.matching.normalise import DATA, reading

BRANDS = Path(__file__).parents[1] / "fixtures" / "names" / "brands.txt"
# The trades that every second company has.
TRADES = (
    "科技",
    "贸易",
    "实业",
    "机械",
    "电子科技",
    "信息技术",
    "物流",
    "建筑工程",
    "商贸",
    "食品",
    "餐饮管理",
    "文化传播",
    "广告",
    "装饰工程",
    "服饰",
    "化工",
    "医疗器械",
    "环保科技",
    "新能源",
    "汽车配件",
    "五金制品",
    "塑料制品",
    "包装材料",
    "生物科技",
    "网络科技",
    "教育咨询",
    "企业管理咨询",
    "投资管理",
    "房地产开发",
    "进出口贸易",
    "自动化设备",
    "仪器仪表",
    "电气设备",
    "农业科技",
    "家具",
    "印刷",
    "纺织品",
    "酒店管理",
    "旅游",
    "供应链管理",
)
FORMS = ("有限公司", "有限公司", "有限公司", "有限责任公司", "股份有限公司", "集团有限公司")


# A region, and how its brand, trade and legal form follow it.
Parts = tuple[str, str, str, str]


@cache
def regions() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of provinces and cities, and those of areas."""
    lines = [line.split(",") for line in (DATA / "regions.csv").read_text(encoding="utf-8").split()[1:]]
    return (
        tuple(name for code, name in lines if len(code) <= 4),
        tuple(name for code, name in lines if len(code) > 4),
    )


@cache
def brands() -> tuple[str, ...]:
    """Return real brands of two to four characters."""
    return tuple(BRANDS.read_text(encoding="utf-8").split())


@cache
def trades() -> tuple[str, ...]:
    """Return words of trade, the rare ones too."""
    return tuple((DATA / "trades.txt").read_text(encoding="utf-8").split())


class Names:
    """A source of names. seed: the same one gives the same names."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the point is that it repeats

    def parts(self) -> Parts:
        """Return region, brand, trade and legal form of a company; the region may be empty."""
        pick = self.random
        return self._region(), self._brand(), self._trade(), pick.choice(FORMS)

    def _brand(self) -> str:
        pick = self.random
        brand = pick.choice(brands())
        if pick.random() < 0.3:
            return brand
        other = pick.choice(brands())
        return brand[: len(brand) // 2] + other[len(other) // 2 :]

    def _trade(self) -> str:
        pick = self.random
        share = pick.random()
        if share < 0.5:
            return pick.choice(TRADES)
        return pick.choice(trades()) + (pick.choice(TRADES) if share > 0.8 else "")

    def _region(self) -> str:
        pick = self.random
        share = pick.random()
        if share < 0.05:
            return ""
        large, small = regions()
        region = pick.choice(large if share < 0.8 else small)
        return _short_region(region) if pick.random() < 0.5 else region

    def spoil(self, parts: Parts) -> tuple[str, str]:
        """Return what was done to a name, and the name after it."""
        kind = self.random.choice(list(SPOILERS))
        return kind, SPOILERS[kind](self.random, *parts)


@cache
def _homophones() -> dict[str, tuple[str, ...]]:
    """Return the characters of brands by their reading."""
    found: dict[str, set[str]] = {}
    for char in set("".join(brands())):
        found.setdefault(reading(char), set()).add(char)
    return {sound: tuple(sorted(chars)) for sound, chars in found.items()}


def _homophone(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    place = pick.randrange(len(brand))
    same = [char for char in _homophones().get(reading(brand[place]), ()) if char != brand[place]]
    return (
        region
        + brand[:place]
        + (pick.choice(same) if same else brand[place])
        + brand[place + 1 :]
        + trade
        + form
    )


def _inserted(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    core = brand + trade
    place = pick.randrange(len(core) + 1)
    return region + core[:place] + pick.choice(pick.choice(brands())) + core[place:] + form


def _dropped(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    core = brand + trade
    place = pick.randrange(len(brand), len(core)) if len(brand) < 3 else pick.randrange(len(core))
    return region + core[:place] + core[place + 1 :] + form


def _swapped(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    core = brand + trade
    place = pick.randrange(len(core) - 1)
    return region + core[:place] + core[place + 1] + core[place] + core[place + 2 :] + form


def _pinyin(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    return region + "".join(reading(char) for char in brand) + trade + form


@cache
def _to_traditional() -> OpenCC:
    return OpenCC("s2t")


def _traditional(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    return str(_to_traditional().convert(region + brand + trade + form))


def _short_region(region: str) -> str:
    return region[:-1] if len(region) > 2 and region[-1] in "省市盟" else region


SPOILERS: dict[str, Callable[[random.Random, str, str, str, str], str]] = {
    "typo": _homophone,
    "inserted": _inserted,
    "dropped": _dropped,
    "swapped": _swapped,
    "pinyin": _pinyin,
    "traditional": _traditional,
    "region_moved": lambda pick, region, brand, trade, form: (
        f"{brand}{trade}（{_short_region(region)}）{form}" if region else brand + trade + form
    ),
    "region_dropped": lambda pick, region, brand, trade, form: brand + trade + form,
    "form_dropped": lambda pick, region, brand, trade, form: _short_region(region) + brand + trade,
    "spaced": lambda pick, region, brand, trade, form: f"{region} {brand}·{trade}　{form}",
    "short_form": lambda pick, region, brand, trade, form: _short_region(region) + brand,
}
