"""Projects that somebody registered: the project is the unique key instead of the customer (F153)."""

from enum import StrEnum

from services.chassis.errors import InvalidInput, RuleViolation
from services.dedupe.domain.keys import Key, RuleField, SubjectKind, digest_of, normalise_name


class ProjectState(StrEnum):
    """OPEN holds the project's key. CLOSED gave it back: done, lost or given up."""

    OPEN = "open"
    CLOSED = "closed"


def project_key(name: str, site_address: str) -> Key:
    """Return what is unique: name and site together, since many sites have an office block to be renovated.

    Raises InvalidInput PROJECT_NAMELESS naming the field of which nothing is left without blanks and punctuation.
    """
    parts = {"name": normalise_name(name), "site_address": normalise_name(site_address)}
    for field, part in parts.items():
        if not part:
            raise InvalidInput(
                field, "PROJECT_NAMELESS", "请填写文字或数字", "There must be letters or digits in it"
            )
    return Key(SubjectKind.PROJECT, RuleField.NAME_AND_SITE, digest_of("\n".join(parts.values())))


def check_closable(state: str) -> None:
    """Raise RuleViolation PROJECT_CLOSED for one that was closed."""
    if state != ProjectState.OPEN:
        raise RuleViolation("PROJECT_CLOSED", "该项目报备已结束", "This project was closed already")
