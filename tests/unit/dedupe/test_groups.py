"""Groups of customers that are alike: no chains, no two credit codes in one (F166)."""

from services.dedupe.matching.groups import Pair, group_pairs


def test_customers_that_are_alike_are_one_group() -> None:
    groups = group_pairs([Pair("a", "b", 9), Pair("b", "c", 8), Pair("a", "c", 8)], {})
    assert set(groups.values()) == {"a"}


def test_a_weak_bridge_joins_nothing() -> None:
    """Two triples with one pair between them stay two groups."""
    triples = [Pair(pair[0], pair[1], 9) for pair in ("ab", "bc", "ac", "xy", "yz", "xz")]
    groups = group_pairs([*triples, Pair("c", "x", 8)], {})
    assert {groups[record] for record in "abc"} == {"a"}
    assert {groups[record] for record in "xyz"} == {"x"}


def test_two_credit_codes_never_join() -> None:
    groups = group_pairs([Pair("a", "b", 30), Pair("b", "c", 20)], {"a": b"1", "b": b"", "c": b"2"})
    assert groups["a"] == groups["b"] != groups["c"]
