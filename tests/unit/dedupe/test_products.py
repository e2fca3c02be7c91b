"""Products and projects: the same or similar ones raise a suspect, common ones never do."""

import pytest

from services.dedupe.matching.places import compare_schemes
from services.dedupe.matching.products import SetMatch, compare_sets, compare_specifications, item_of
from services.dedupe.matching.weights import Verdict

WANG = [item_of("非标法兰", "DN125 PN25 316L 厚度 18mm"), item_of("异径三通", "DN125×80 壁厚6")]


def compare(one: list[tuple[str, str]], other: list[tuple[str, str]], **askers: int) -> SetMatch:
    """Compare two sets of products and specifications with the usual thresholds."""
    return compare_sets([item_of(*i) for i in one], [item_of(*i) for i in other], askers, 100, 0.6, 6.0)


def test_the_same_set_of_rare_products_is_the_same() -> None:
    """F155."""
    match = compare_sets(WANG, WANG[::-1], {"非标法兰": 2, "异径三通": 2}, 100, 0.6, 6.0)
    assert match.verdict is Verdict.SAME
    assert set(match.shared) == {"非标法兰", "异径三通"}


def test_similar_specifications_are_near() -> None:
    """F156."""
    other = [
        item_of("非标法兰", "316L DN125，PN25，厚18.5mm"),
        item_of("异径三通", "DN125x80，壁厚 6"),
        item_of("螺栓", ""),
    ]
    match = compare_sets(WANG, other, {}, 100, 0.5, 6.0)
    assert match.verdict is Verdict.NEAR
    assert 0.5 <= match.likeness < 0.9


def test_a_product_that_everybody_asks_for_never_raises_a_suspect() -> None:
    match = compare([("A4打印纸", "")], [("A4打印纸", "")], a4打印纸=80)
    assert match.likeness == 1
    assert match.verdict is Verdict.DIFFERENT


def test_other_specifications_are_other_products() -> None:
    match = compare([("非标法兰", "DN125 PN25 316L")], [("非标法兰", "DN300 PN10 碳钢")])
    assert match.verdict is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("DN125 PN25", "PN25，DN125", True),
        ("厚度18mm", "厚度18.5mm", True),
        ("厚度18mm", "厚度30mm", False),
        ("", "厚度30mm", False),
        ("BVR 2.5mm² ①", "2.5mm²，BVR，①", True),
        ("BVR 2.5mm²", "BVR 4mm²", False),
    ],
)
def test_specifications_are_compared_by_word_and_number(one: str, other: str, alike: bool) -> None:
    assert (compare_specifications(one, other) >= 0.9) == alike


def test_schemes_are_compared_by_their_characters() -> None:
    """F158."""
    scheme = "车间屋顶分布式光伏 2MW，配套储能 500kWh"
    assert compare_schemes(scheme, "厂房屋顶分布式光伏2MW 配套储能500kWh") > 0.7
    assert compare_schemes(scheme, "办公楼中央空调改造") < 0.1
    assert compare_schemes("", scheme) == 0
