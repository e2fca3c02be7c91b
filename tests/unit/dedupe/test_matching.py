"""The matching engine: names taken apart, found again when spoilt, told apart when different, with reasons."""

from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Indel

from services.dedupe.domain.evidence import Evidence, weights_of
from services.dedupe.matching.grams import name_grams, tenant_seed
from services.dedupe.matching.normalise import Name, normalise
from services.dedupe.matching.places import compare_addresses
from services.dedupe.matching.ranking import (
    COMPARED,
    PREFIX_LIKENESS,
    RANKED,
    REGION_LIKENESS,
    Candidates,
)
from services.dedupe.matching.similarity import (
    SOUND_DISCOUNT,
    compare_names,
    compare_regions,
    most_likeness,
)
from services.dedupe.matching.weights import (
    Field,
    Frequencies,
    Record,
    Verdict,
    Weights,
    compare,
    least_likeness,
)
from services.dedupe.store.gram_counts import BUDGET, LEAST, PART_BITS, PARTS, GramCounts
from tests.support.names import SPOILERS, Names

LABELLED = Path(__file__).parents[2] / "fixtures" / "names" / "labelled_brands.txt"
WEIGHTS = Weights()
MANY = Frequencies(records=100_000)


def record(name: str, **more: object) -> Record:
    """Return a record with this name."""
    return Record(normalise(name), **more)  # type: ignore[arg-type]  # the test names the fields


@pytest.mark.parametrize(
    ("name", "core", "brand", "region"),
    [
        ("成都知品科技有限公司", "知品科技", "知品", "5101"),
        ("知品科技（成都）有限公司", "知品科技", "知品", "5101"),
        ("四川省成都市武侯区知品科技公司", "知品科技", "知品", "51"),
        ("臺灣積體電路製造股份有限公司", "积体电路制造", "积体", "71"),
        ("上海康平实业有限公司", "康平实业", "康平", "31"),
        ("ＡＣＭＥ　Widgets Co., Ltd.", "acmewidgets", "acmewidgets", ""),
        ("环球国际航运青岛有限公司", "环球国际航运", "环球", "3702"),
    ],
)
def test_a_name_is_taken_apart(name: str, core: str, brand: str, region: str) -> None:
    parts = normalise(name)
    assert (parts.core, parts.brand, next(iter(parts.regions), "")) == (core, brand, region)


def test_nine_of_ten_labelled_brands_are_found_whole() -> None:
    """500 names with the brand that a person marked in them."""
    lines = (line.split() for line in LABELLED.read_text(encoding="utf-8").splitlines())
    labelled = [line for line in lines if len(line) == 2]
    right = sum(normalise(name).brand == normalise(brand).whole for name, brand in labelled)
    assert right / len(labelled) >= 0.9


def test_spoilt_names_are_found_and_others_are_not() -> None:
    """Precision and recall by name alone, on a seed that nothing was tuned on."""
    names = Names(20261122)
    parts = [names.parts() for _ in range(500)]
    records = [record("".join(part)) for part in parts]
    spoilt = [names.spoil(part) for part in parts]
    hits = [
        compare(record(name), stored, MANY, WEIGHTS).verdict is not Verdict.DIFFERENT
        for (_, name), stored in zip(spoilt, records, strict=True)
    ]
    assert sum(hits) / len(hits) >= 0.9
    # A short form alone says little: many share a brand.
    for kind in SPOILERS.keys() - {"short_form"}:
        of_kind = [hit for hit, (done, _) in zip(hits, spoilt, strict=True) if done == kind]
        assert sum(of_kind) / len(of_kind) >= 0.8, kind
    # Each against some others; those that were made alike by chance are left out.
    alarms = tried = 0
    for step in (1, 7, 31):
        for one, other in zip(range(500), range(step, 500), strict=False):
            if parts[one][1:3] != parts[other][1:3]:
                tried += 1
                verdict = compare(records[one], records[other], MANY, WEIGHTS).verdict
                alarms += verdict is not Verdict.DIFFERENT
    assert alarms / tried < 0.001


def test_a_second_field_decides_where_the_name_does_not() -> None:
    """F154: another name, the same person at the same number."""
    one = record("成都知品科技有限公司", phones=frozenset({b"1"}), contacts=frozenset({"王小明"}))
    other = record("知品信息技术公司", phones=frozenset({b"1"}), contacts=frozenset({"王小明"}))
    assert (
        compare(record("成都知品科技有限公司"), record("知品信息技术公司"), MANY, WEIGHTS).verdict
        is Verdict.DIFFERENT
    )
    assert compare(one, other, MANY, WEIGHTS).verdict is not Verdict.DIFFERENT


def test_the_reasons_add_up_to_the_score_in_both_languages() -> None:
    one = record("成都知品科技有限公司", phones=frozenset({b"1"}), address="天府大道100号")
    other = record("成都质品科技有限公司", phones=frozenset({b"1"}), address="成都市天府大道100号")
    match = compare(one, other, MANY, WEIGHTS)
    assert [reason.field for reason in match.reasons] == [
        Field.NAME,
        Field.REGION,
        Field.PHONE,
        Field.ADDRESS,
    ]
    assert match.score == pytest.approx(sum(reason.weight for reason in match.reasons))
    assert all(reason.zh and reason.en for reason in match.reasons)
    assert match.verdict is Verdict.SAME


def test_a_switchboard_says_little() -> None:
    phones = frozenset({b"1"})
    one, other = record("恒达贸易有限公司", phones=phones), record("鑫源机械有限公司", phones=phones)
    shared = Frequencies(records=100_000, phones={b"1": 200})
    weight = {
        reason.weight
        for reason in compare(one, other, shared, WEIGHTS).reasons
        if reason.field is Field.PHONE
    }
    assert weight == {WEIGHTS.shared_phone}
    assert compare(one, other, shared, WEIGHTS).verdict is Verdict.DIFFERENT


def test_two_different_credit_codes_are_two_customers() -> None:
    one = record("成都知品科技有限公司", credit_code=b"a", phones=frozenset({b"1"}))
    other = record("成都知品科技有限公司", credit_code=b"b", phones=frozenset({b"1"}))
    assert compare(one, other, MANY, WEIGHTS).verdict is Verdict.DIFFERENT


def test_a_name_that_many_have_weighs_less() -> None:
    one = record("老百姓大药房")
    rare = compare(one, one, Frequencies(100_000), WEIGHTS).score
    assert compare(one, one, Frequencies(100_000, names=3000), WEIGHTS).score < rare


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("四川省成都市天府大道100号", "天府大道100号", True),
        ("天府大道100号A座", "天府大道 100 号 A 座", True),
        ("天府大道100号", "天府大道200号", False),
        ("天府大道100号", "人民南路8号", False),
        ("", "人民南路8号", False),
    ],
)
def test_addresses_are_compared_with_their_numbers(one: str, other: str, alike: bool) -> None:
    """F158."""
    assert (compare_addresses(one, other) >= 0.8) == alike


@pytest.mark.parametrize("name", ["", "　", "😀😀", "\x00\x1b", "（）", "…"])
def test_a_name_that_says_nothing_matches_nothing(name: str) -> None:
    parts = normalise(name)
    assert name_grams(1, parts) == []
    assert compare_names(parts, parts).score == 0


@pytest.mark.parametrize("name", ["甲", "华" * 10_000, "A甲á日本ｱ한국", "😀知品😀科技"])
def test_odd_names_have_a_defined_answer(name: str) -> None:
    parts = normalise(name)
    assert name_grams(1, parts)
    assert compare_names(parts, normalise(name)).score == 1


@settings(max_examples=200)
@given(st.text(max_size=40), st.text(max_size=40))
def test_likeness_is_symmetric_and_between_0_and_1(one: str, other: str) -> None:
    first, second = normalise(one), normalise(other)
    assert 0 <= compare_names(first, second).score <= 1
    assert compare_names(first, second) == compare_names(second, first)


def test_tenants_have_grams_of_their_own() -> None:
    name = normalise("成都知品科技有限公司")
    one, other = (name_grams(tenant_seed(tenant), name) for tenant in ("a", "b"))
    assert not set(one) & set(other)
    assert all(-(2**63) <= gram < 2**63 for gram in one)


NAMES = st.tuples(
    st.sampled_from(("", "成都", "四川", "上海", "大连")),
    st.text(alphabet="知之品质科技化工", min_size=1, max_size=5),
    st.sampled_from(("公司", "有限公司")),
).map("".join)


@given(NAMES, st.lists(NAMES, max_size=RANKED))
def test_the_nearest_are_those_of_a_plain_ranking(asked: str, others: list[str]) -> None:
    """What is left out early would have been left out at the end."""
    probe, names = normalise(asked), [normalise(other) for other in others]

    def worth(name: Name) -> float:
        likeness = max(
            Indel.normalized_similarity(probe.core, name.core),
            SOUND_DISCOUNT * Indel.normalized_similarity(probe.sound, name.sound),
            PREFIX_LIKENESS if name.core.startswith(probe.core) else 0.0,
        )
        return likeness + REGION_LIKENESS * compare_regions(probe.regions, name.regions)

    nearest = [worth(names[int(place)]) for place in _candidates(names).nearest(probe)]
    assert nearest == pytest.approx(sorted(map(worth, names), reverse=True)[:COMPARED])


def _candidates(names: Sequence[Name]) -> Candidates:
    """Return customers of these names, each with its place as id."""
    return Candidates(
        [str(place) for place in range(len(names))],
        [name.core for name in names],
        [name.sound for name in names],
        [",".join(name.regions) for name in names],
    )


@given(NAMES, st.lists(NAMES, max_size=COMPARED), st.floats(0.0, 1.0))
# Exactly so much alike.
@example("信电脑酒业", ["亿电脑实业"], 0.6)
def test_of_the_nearest_all_are_left_out_who_are_less_alike_and_no_others(
    asked: str, others: list[str], least: float
) -> None:
    probe, names = normalise(asked), [normalise(other) for other in others]
    wanted = [
        str(place) for place, name in enumerate(names) if most_likeness(probe, name.core, name.sound) >= least
    ]
    assert sorted(_candidates(names).nearest(probe, least), key=int) == wanted


PHONES = frozenset({b"1"})


@given(
    st.builds(
        Record,
        NAMES.map(normalise),
        st.sampled_from((frozenset(), PHONES)),
        contacts=st.sampled_from((frozenset(), frozenset({"王"}))),
        address=st.sampled_from(("", "天府大道100号")),
    ),
    NAMES.map(normalise),
    st.floats(1.0, 30.0),
    st.floats(1.0, 30.0),
)
def test_who_is_left_out_for_a_name_alone_would_not_be_near_with_all_else_equal(
    probe: Record, name: Name, threshold: float, most: float
) -> None:
    weights = weights_of(Evidence(name=most), threshold)
    equal = probe._replace(name=name)
    if most_likeness(probe.name, name.core, name.sound) < least_likeness(probe, weights):
        assert compare(probe, equal, MANY, weights).verdict is Verdict.DIFFERENT


# Around the ends of the parts that grams are looked for in, and anywhere.
GRAMS = st.one_of(
    st.sampled_from([(part << PART_BITS) + near for part in (-PARTS // 2, -1, 0, 1) for near in range(8)]),
    st.integers(-(2**63), 2**63 - 1),
)


@given(st.dictionaries(GRAMS, st.integers(1, 2 * BUDGET)), st.sets(GRAMS), st.data())
def test_the_rarest_grams_are_asked_for_within_the_budget(
    counts: dict[int, int], others: set[int], data: st.DataObject
) -> None:
    grams = others | (data.draw(st.sets(st.sampled_from(sorted(counts)))) if counts else set())
    noted = sorted(counts)
    known = GramCounts(None, 0, array("q", noted), array("q", [counts[gram] for gram in noted]))
    asked = known.rarest(grams)
    by_count = sorted(grams, key=lambda gram: (counts.get(gram, 0), gram))
    assert asked == by_count[: len(asked)]
    assert len(asked) <= LEAST or sum(counts.get(gram, 0) for gram in asked) <= BUDGET
    more = by_count[: len(asked) + 1]
    assert more == asked or (len(more) > LEAST and sum(counts.get(gram, 0) for gram in more) > BUDGET)
