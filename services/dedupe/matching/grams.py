"""What is looked for in the index: hashed pieces of a name and hashed exact values, all in one `bigint[]`.

A piece is two neighbouring characters, two with one between them, two neighbouring sounds or three; a mark stands
before the first. Two sounds are shared by thousands of a million names, three by few: they find a name that somebody
typed in pinyin. The tenant goes into the hash, so that one tenant's lists don't lengthen another's.
"""

import hashlib
from array import array
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from operator import xor

from services.dedupe.matching.normalise import Name

# Stands before the first character of a core.
HEAD = 0x110001
MASK = (1 << 64) - 1
# Bytes of a lane: a hash, and room for what it is multiplied by.
LANE_BYTES = 16


class GramKind(IntEnum):
    """What was hashed. The number is part of the hash and never changes."""

    NEIGHBOURS = 1
    SKIPPED = 2
    SOUNDS = 3
    EXACT = 4
    SOUND_RUNS = 5


def tenant_seed(tenant_id: str) -> int:
    """Return what is mixed into a tenant's hashes."""
    return int.from_bytes(hashlib.blake2b(tenant_id.encode(), digest_size=8).digest())


def name_grams(seed: int, name: Name) -> list[int]:
    """Return the hashes of a name's pieces, each once, in order of size; empty for an empty name."""
    return _grams(_pieces(seed, name)) if name.core else []


def asked_grams(seed: int, name: Name) -> list[int]:
    """Return the hashes to ask for when a name is looked for: its own, and those that a slip of the finger leaves.

    Where a character was left out, put in or swapped with the next, two that were neighbours stand apart, or the other
    way round: so each pair is asked for as both.
    """
    if not name.core:
        return []
    chars = [HEAD, *map(ord, name.core)]
    slips = [
        *_pairs(seed, GramKind.SKIPPED, chars, chars[1:]),
        *_pairs(seed, GramKind.NEIGHBOURS, chars, chars[2:]),
    ]
    return _grams([*_pieces(seed, name), *slips])


def _pieces(seed: int, name: Name) -> list[int]:
    """Return what is to be hashed of a name."""
    chars = [HEAD, *map(ord, name.core)]
    sounds = [HEAD, *map(ord, name.sound)]
    runs = _mixed(_pairs(seed, GramKind.SOUND_RUNS, sounds, sounds[1:]))
    return [
        *_pairs(seed, GramKind.NEIGHBOURS, chars, chars[1:]),
        *_pairs(seed, GramKind.SKIPPED, chars, chars[2:]),
        *_pairs(seed, GramKind.SOUNDS, sounds, sounds[1:]),
        *map(xor, runs, sounds[2:]),
    ]


def text_grams(seed: int, field: str, text: str) -> list[int]:
    """Return the hashes of neighbouring characters of a folded text of another field, each once."""
    salt = (seed ^ exact_gram(seed, "text", field.encode())) & MASK
    chars = list(map(ord, text))
    return _grams(_pairs(salt, GramKind.NEIGHBOURS, chars, chars[1:]))


def exact_gram(seed: int, field: str, value: bytes) -> int:
    """Return the hash of a value that is equal or not: a phone's or code's digest."""
    digest = hashlib.blake2b(value, digest_size=8, person=field.encode()[:16]).digest()
    mixed = _mix(seed ^ int.from_bytes(digest) ^ (GramKind.EXACT << 60), MASK)
    return mixed - (1 << 64) if mixed >> 63 else mixed


def _pairs(seed: int, kind: GramKind, first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Return what is to be hashed of pairs: numbers of 64 bits."""
    salt = seed ^ kind << 60
    return [salt ^ (one << 21 | other) for one, other in zip(first, second, strict=False)]


def _grams(values: Sequence[int]) -> list[int]:
    """Return numbers hashed, each once, in order of size, as PostgreSQL's signed bigint."""
    return sorted(set(array("q", _mixed(values).tobytes())))


def _mixed(values: Sequence[int]) -> "array[int]":
    """Return numbers of 64 bits hashed: all of them as lanes of one long number, in which a step is one operation."""
    lanes = array("Q", bytes(LANE_BYTES * len(values)))
    lanes[::2] = array("Q", values)
    mixed = _mix(int.from_bytes(lanes.tobytes(), "little"), _mask(len(values)))
    return array("Q", mixed.to_bytes(LANE_BYTES * len(values), "little"))[::2]


@lru_cache
def _mask(lanes: int) -> int:
    """Return the lower halves of so many lanes."""
    return int.from_bytes((MASK.to_bytes(LANE_BYTES, "little")) * lanes, "little")


def _mix(value: int, mask: int) -> int:
    """Return a 64-bit hash (the finaliser of MurmurHash3), or one in each lane of the mask."""
    value = (value ^ value >> 33 & mask) * 0xFF51AFD7ED558CCD & mask
    value = (value ^ value >> 33 & mask) * 0xC4CEB9FE1A85EC53 & mask
    return value ^ value >> 33 & mask
