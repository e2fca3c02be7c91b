"""Keys: what must be unique in a tenant, in the form in which two spellings of one thing are equal.

A key holds only a digest of its value, so that dedupe's tables give away neither a name nor a number.
"""

import hashlib
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class SubjectKind(StrEnum):
    """What kind of record a key belongs to."""

    CUSTOMER = "customer"
    CONTACT = "contact"
    PROJECT = "project"


class RuleField(StrEnum):
    """Which field a rule makes unique."""

    NAME = "name"
    PHONE = "phone"
    CREDIT_CODE = "credit_code"
    PHONE_AND_NAME = "phone_and_name"
    # Of a project, always: no rule switches it off.
    NAME_AND_SITE = "name_and_site"
    # Not a key: all fields weighed together.
    SIMILAR = "similar"


# What can be unique, and whether it is so at the start (F146: the customer's name; F151: numbers too).
PRESET_RULES = {
    (SubjectKind.CUSTOMER, RuleField.NAME): True,
    (SubjectKind.CUSTOMER, RuleField.PHONE): True,
    (SubjectKind.CONTACT, RuleField.PHONE): True,
    (SubjectKind.CUSTOMER, RuleField.CREDIT_CODE): False,
    (SubjectKind.CUSTOMER, RuleField.PHONE_AND_NAME): False,
    (SubjectKind.CONTACT, RuleField.PHONE_AND_NAME): False,
    (SubjectKind.CUSTOMER, RuleField.SIMILAR): True,
}
# These are noted while their rule is off too; a record gets the others when their rule comes on.
ALWAYS_NOTED = frozenset(
    {
        (SubjectKind.CUSTOMER, RuleField.NAME),
        (SubjectKind.CUSTOMER, RuleField.PHONE),
        (SubjectKind.CONTACT, RuleField.PHONE),
    }
)


@dataclass(frozen=True)
class Subject:
    """A record whose keys are asked for.

    id: UUID, "" where it is of no account. name: as typed. phones: E.164, an extension behind it as ";ext=801".
    credit_code: checked, upper case. customer_id: of a contact, "" for that of the same reservation.
    """

    kind: SubjectKind
    id: str
    name: str
    phones: tuple[str, ...]
    credit_code: str = ""
    address: str = ""
    customer_id: str = ""


class Key(NamedTuple):
    """One unique thing. Ordered, because everybody must take keys in one order.

    digest: 16 bytes of BLAKE2b over the normalised value. A tuple, for thousands are looked up and sorted at once.
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
    if folded.isalnum():
        # Nothing is to go, as of most names.
        return folded
    bare = "".join(char for char in folded if unicodedata.category(char)[0] not in "PZC")
    # What stood apart may combine now.
    return unicodedata.normalize("NFKC", bare)


def keys_of(subject: Subject, noted: Collection[tuple[str, str]] = ALWAYS_NOTED) -> list[Key]:
    """Return every key of a subject whose kind and field are noted, in order, whether its rule is on or off."""
    return keys_from(
        subject.kind,
        subject.name,
        [digest_of(phone) for phone in subject.phones],
        digest_of(subject.credit_code),
        noted,
    )


def keys_from(
    kind: SubjectKind,
    name: str,
    phones: Collection[bytes],
    credit_code: bytes,
    noted: Collection[tuple[str, str]],
) -> list[Key]:
    """Return `keys_of` a subject of which only digests are known beside the name; b"" for none."""
    name_digest = digest_of(normalise_name(name))
    digests = {
        RuleField.NAME: [name_digest],
        RuleField.PHONE: phones,
        RuleField.CREDIT_CODE: [credit_code],
        RuleField.PHONE_AND_NAME: [_digest(name_digest + phone) for phone in phones if name_digest],
    }
    return sorted(
        {
            Key(kind, field, digest)
            for field, values in digests.items()
            if (kind, field) in noted
            for digest in values
            if digest
        }
    )


def digest_of(value: str) -> bytes:
    """Return the digest of a normalised value, b"" of an empty one."""
    return _digest(value.encode()) if value else b""


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()
