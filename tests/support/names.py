"""Company names to try matching on: composed, and spoilt as people spoil them; the same seed gives the same ones."""

import random
from collections.abc import Callable
from functools import cache

from opencc import OpenCC

from services.dedupe.matching.normalise import DATA, reading

# Common characters of brands; two or three of them make one.
BRAND_CHARACTERS = (
    "华中新天大金海安东方宏正信德盛达联瑞博通泰丰利恒康明辉远创科成荣永兴佳美鑫源龙宝力顺诚和飞凯鼎亿万腾凌云星"
    "盈智嘉祥润泽隆昌茂福吉庆义仁礼文景春夏秋冬晨曦阳光月朗清江河湖山林森木石玉珠晶银铜铁钢"
)
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


@cache
def regions() -> tuple[str, ...]:
    """Return the names of cities and provinces."""
    lines = (DATA / "regions.csv").read_text(encoding="utf-8").split()[1:]
    return tuple(name for code, name in (line.split(",") for line in lines) if len(code) <= 4)


class Names:
    """A source of names. seed: the same one gives the same names."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the point is that it repeats

    def parts(self) -> tuple[str, str, str, str]:
        """Return region, brand, trade and legal form of a company."""
        pick = self.random
        brand = "".join(pick.choices(BRAND_CHARACTERS, k=pick.choice((2, 2, 3, 3, 4))))
        return pick.choice(regions()), brand, pick.choice(TRADES), pick.choice(FORMS)

    def spoil(self, parts: tuple[str, str, str, str]) -> tuple[str, str]:
        """Return what was done to a name, and the name after it."""
        kind = self.random.choice(list(SPOILERS))
        return kind, SPOILERS[kind](self.random, *parts)


def _homophone(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    place = pick.randrange(len(brand))
    same = [
        char for char in BRAND_CHARACTERS + "宏鸿洪红利力立丽信欣新" if reading(char) == reading(brand[place])
    ]
    return region + brand[:place] + pick.choice(same) + brand[place + 1 :] + trade + form


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


def _traditional(pick: random.Random, region: str, brand: str, trade: str, form: str) -> str:
    return str(OpenCC("s2t").convert(region + brand + trade + form))


def _short_region(region: str) -> str:
    return region[:-1] if len(region) > 2 and region[-1] in "省市盟" else region


SPOILERS: dict[str, Callable[[random.Random, str, str, str, str], str]] = {
    "typo": _homophone,
    "dropped": _dropped,
    "swapped": _swapped,
    "pinyin": _pinyin,
    "traditional": _traditional,
    "region_moved": lambda pick, region, brand, trade, form: (
        f"{brand}{trade}（{_short_region(region)}）{form}"
    ),
    "region_dropped": lambda pick, region, brand, trade, form: brand + trade + form,
    "form_dropped": lambda pick, region, brand, trade, form: _short_region(region) + brand + trade,
    "spaced": lambda pick, region, brand, trade, form: f"{region} {brand}·{trade}　{form}",
    "short_form": lambda pick, region, brand, trade, form: _short_region(region) + brand,
}
