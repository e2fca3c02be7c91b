"""Keys: what must be unique in a tenant, in the form in which two spellings of one thing are equal.

A key holds only a digest of its value, so that dedupe's tables give away neither a name nor a number.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from enum import StrEnum


class SubjectKind(StrEnum):
    """What kind of record a key belongs to."""

    CUSTOMER = "customer"
    CONTACT = "contact"


class RuleField(StrEnum):
    """Which field a rule makes unique."""

    NAME = "name"
    PHONE = "phone"


# What can be unique. A tenant starts with all of them on (F146: the customer's name; F151: numbers too).
PRESET_RULES = (
    (SubjectKind.CUSTOMER, RuleField.NAME),
    (SubjectKind.CUSTOMER, RuleField.PHONE),
    (SubjectKind.CONTACT, RuleField.PHONE),
)


@dataclass(frozen=True)
class Subject:
    """A record whose keys are asked for.

    id: UUID, "" where it is of no account. name: as typed. phones: E.164, an extension behind it as ";ext=801".
    """

    kind: SubjectKind
    id: str
    name: str
    phones: tuple[str, ...]


@dataclass(frozen=True, order=True)
class Key:
    """One unique thing. Ordered, because everybody must take keys in one order.

    digest: 16 bytes of BLAKE2b over the normalised value.
    """

    kind: SubjectKind
    field: RuleField
    digest: bytes


def normalise_name(name: str) -> str:
    """Return a name for exact comparison; "" when nothing is left.

    Full width becomes half width, case is folded, spaces, punctuation and brackets go:
    "ＡＢＣ（上海） 有限公司" and "abc(上海)有限公司" are equal.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    bare = "".join(char for char in folded if unicodedata.category(char)[0] not in "PZC")
    # What stood apart may combine now.
    return unicodedata.normalize("NFKC", bare)


def keys_of(subject: Subject) -> list[Key]:
    """Return every key that a subject has, in order, whether its rule is on or off."""
    values = {RuleField.NAME: [normalise_name(subject.name)], RuleField.PHONE: subject.phones}
    return sorted(
        {
            Key(kind, field, hashlib.blake2b(value.encode(), digest_size=16).digest())
            for kind, field in PRESET_RULES
            if kind == subject.kind
            for value in values[field]
            if value
        }
    )
