"""Put pairs that are alike together in groups, without chains: A like B and B like C does not make A like C."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Two groups become one when so many of their pairs are alike.
BRIDGE = 0.5


@dataclass(frozen=True)
class Pair:
    """Two records that are alike. score: in bits."""

    low: str
    high: str
    score: float


def group_pairs(pairs: Iterable[Pair], codes: Mapping[str, bytes]) -> dict[str, str]:
    """Return the group of each record, named after its smallest id.

    The strongest pairs join first. A weak bridge joins nothing: at least half of all pairs between two groups must be
    alike. Two different credit codes are two companies. codes: digest of the credit code by record, b"" for none.
    """
    ordered = sorted(pairs, key=lambda pair: (-pair.score, pair.low, pair.high))
    links: dict[str, set[str]] = {}
    for pair in ordered:
        links.setdefault(pair.low, set()).add(pair.high)
        links.setdefault(pair.high, set()).add(pair.low)
    members = {record: {record} for record in links}
    group = {record: record for record in links}
    for pair in ordered:
        one, other = group[pair.low], group[pair.high]
        if one == other or not _belong_together(members[one], members[other], links, codes):
            continue
        joined = members.pop(one) | members.pop(other)
        name = min(joined)
        members[name] = joined
        group |= dict.fromkeys(joined, name)
    return group


def _belong_together(
    one: set[str], other: set[str], links: Mapping[str, set[str]], codes: Mapping[str, bytes]
) -> bool:
    if len({codes.get(record, b"") for record in one | other} - {b""}) > 1:
        return False
    alike = sum(len(links[record] & other) for record in one)
    return alike >= BRIDGE * len(one) * len(other)
