"""Add up the evidence: each field's weight in bits (log2 of how much likelier it is for one customer than for two).

The sum is the score, its parts are the explanation. What many share says little: an equal phone or name weighs the less
the more records have it, and a switchboard's number never weighs more than `Weights.shared_phone`. (Fellegi and Sunter,
"A Theory for Record Linkage", 1969, with term frequencies.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from math import log2
from typing import NamedTuple

from services.dedupe.matching.normalise import Name
from services.dedupe.matching.places import compare_addresses
from services.dedupe.matching.similarity import compare_names

# Most that a weight changes when it is rounded to a tenth.
ROUNDING = 0.05


class Verdict(StrEnum):
    """What the score says (F157)."""

    SAME = "same"
    NEAR = "near"
    DIFFERENT = "different"


class Field(StrEnum):
    """What is compared."""

    NAME = "name"
    REGION = "region"
    PHONE = "phone"
    CREDIT_CODE = "credit_code"
    CONTACT = "contact"
    ADDRESS = "address"


# Tuples are made in a third of the time that a frozen dataclass takes, and a query makes dozens of these.
class Record(NamedTuple):
    """A customer as it is compared. phones, credit_code: digests; b"" for no code. contacts: names as typed."""

    name: Name
    phones: frozenset[bytes] = frozenset()
    credit_code: bytes = b""
    contacts: frozenset[str] = frozenset()
    address: str = ""


@dataclass(frozen=True)
class Frequencies:
    """How many records share a value. records: all of the tenant. phones: by digest. names: with the same core."""

    records: int = 1000
    phones: Mapping[bytes, int] = field(default_factory=dict)
    names: int = 1


@dataclass(frozen=True)
class Weights:
    """What evidence is worth, in bits; configuration (F162).

    name: (likeness, bits) from low to high, straight lines between. name_ceiling: most that an equal name gives.
    shared_phone: most that a number gives which more than `switchboard` records have.
    """

    name: tuple[tuple[float, float], ...] = (
        (0.0, -8.0),
        (0.5, -6.0),
        (0.65, -1.0),
        (0.75, 3.0),
        (0.85, 6.0),
        (1.0, 9.0),
    )
    name_ceiling: float = 12.0
    region_agrees: float = 1.5
    region_conflicts: float = -5.0
    phone: float = 10.0
    shared_phone: float = 2.0
    switchboard: int = 3
    phone_differs: float = -0.5
    credit_code: float = 20.0
    credit_code_differs: float = -25.0
    contact: float = 3.0
    address: tuple[tuple[float, float], ...] = ((0.0, -1.0), (0.5, 0.0), (0.8, 3.0), (1.0, 6.0))
    near: float = 7.5
    same: float = 10.0


class Reason(NamedTuple):
    """One field's part of a score. weight: in bits, to a tenth. zh, en: what was found."""

    field: Field
    weight: float
    zh: str
    en: str


class Match(NamedTuple):
    """How two records compare. score: the sum of the reasons' weights, in bits."""

    verdict: Verdict
    score: float
    likeness: float
    reasons: tuple[Reason, ...]


def compare(one: Record, other: Record, frequencies: Frequencies, weights: Weights) -> Match:
    """Return the verdict on two records, with a reason for each field that both have."""
    likeness = compare_names(one.name, other.name)
    found = [
        _name(one, other, likeness.score, frequencies, weights),
        _region(likeness.regions, weights),
        _phone(one, other, frequencies, weights),
        _credit_code(one, other, weights),
        _contact(one, other, weights),
        _address(one, other, weights),
    ]
    reasons = tuple(filter(None, found))
    score = round(sum([reason.weight for reason in reasons]), 1)
    return Match(verdict_of(score, weights), score, likeness.score, reasons)


def least_likeness(probe: Record, weights: Weights) -> float:
    """Return how alike a name must be, 0 to 1, for any record to be near a probe with all else in its favour."""
    others = (
        weights.region_agrees
        + (max(weights.phone, weights.shared_phone) if probe.phones else 0.0)
        + (weights.credit_code if probe.credit_code else 0.0)
        + (weights.contact if probe.contacts else 0.0)
        + (weights.address[-1][1] if probe.address else 0.0)
    )
    # Each part of a score is rounded.
    needed = weights.near - others - ROUNDING * len(Field)
    for (left, low), (right, high) in pairwise(weights.name):
        if needed <= low:
            return left
        if needed < high:
            return left + (right - left) * (needed - low) / (high - low)
    return weights.name[-1][0]


def _reason(field: Field, weight: float, zh: str, en: str) -> Reason:
    return Reason(field, round(weight, 1), zh, en)


def verdict_of(score: float, weights: Weights) -> Verdict:
    """Return what a score means."""
    if score >= weights.same:
        return Verdict.SAME
    return Verdict.NEAR if score >= weights.near else Verdict.DIFFERENT


def on_line(points: tuple[tuple[float, float], ...], at: float) -> float:
    """Return the value at a place on straight lines between points, the nearest end's beyond them."""
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * max(at - left, 0.0) / (right - left)
    return points[-1][1]


def _name(
    one: Record, other: Record, likeness: float, frequencies: Frequencies, weights: Weights
) -> Reason | None:
    if not one.name.core or not other.name.core:
        return None
    if one.name.whole == other.name.whole or one.name.core == other.name.core:
        # As much as the name singles out among all, between its usual weight and the ceiling.
        rarity = log2(max(frequencies.records, 2) / max(frequencies.names, 1))
        weight = min(weights.name_ceiling, max(rarity, weights.name[-2][1]))
        zh, en = (
            ("名称相同", "equal names")
            if one.name.whole == other.name.whole
            else ("字号与行业相同", "equal brand and trade")
        )
        return _reason(Field.NAME, weight, zh, en)
    percent = round(100 * likeness)
    return _reason(
        Field.NAME, on_line(weights.name, likeness), f"名称相似度 {percent}%", f"names {percent}% alike"
    )


def _region(regions: int, weights: Weights) -> Reason | None:
    if regions == 0:
        return None
    if regions > 0:
        return _reason(Field.REGION, weights.region_agrees, "地区一致", "same region")
    return _reason(Field.REGION, weights.region_conflicts, "地区不同", "different regions")


def _phone(one: Record, other: Record, frequencies: Frequencies, weights: Weights) -> Reason | None:
    if not one.phones or not other.phones:
        return None
    if not (shared := one.phones & other.phones):
        return _reason(Field.PHONE, weights.phone_differs, "电话不同", "different numbers")
    count = min(frequencies.phones.get(phone, 1) for phone in shared)
    if count > weights.switchboard:
        return _reason(
            Field.PHONE,
            weights.shared_phone,
            f"电话相同，但有 {count} 个客户共用（总机）",
            f"equal number, shared by {count} customers (a switchboard)",
        )
    return _reason(Field.PHONE, weights.phone - log2(max(count, 1)), "电话相同", "equal number")


def _credit_code(one: Record, other: Record, weights: Weights) -> Reason | None:
    if not one.credit_code or not other.credit_code:
        return None
    if one.credit_code == other.credit_code:
        return _reason(Field.CREDIT_CODE, weights.credit_code, "统一社会信用代码相同", "equal credit codes")
    return _reason(
        Field.CREDIT_CODE, weights.credit_code_differs, "统一社会信用代码不同", "different credit codes"
    )


def _contact(one: Record, other: Record, weights: Weights) -> Reason | None:
    if one.contacts & other.contacts:
        return _reason(Field.CONTACT, weights.contact, "联系人同名", "a contact of the same name")
    return None


def _address(one: Record, other: Record, weights: Weights) -> Reason | None:
    if not one.address or not other.address:
        return None
    likeness = compare_addresses(one.address, other.address)
    percent = round(100 * likeness)
    return _reason(
        Field.ADDRESS,
        on_line(weights.address, likeness),
        f"地址相似度 {percent}%",
        f"addresses {percent}% alike",
    )
