"""Who holds which key, for those who only ask."""

from collections.abc import Sequence

from services.chassis.db import Transaction
from services.dedupe.domain.keys import PRESET_RULES, RuleField, Subject, SubjectKind, keys_of
from services.dedupe.domain.rules import Entrance
from services.dedupe.store import index, queries
from services.dedupe.store.queries import Held


def find_holders(tx: Transaction, subjects: Sequence[Subject]) -> list[Held]:
    """Return who holds the keys of these subjects, by the rules that are on."""
    keys = {key for subject in subjects for key in keys_of(subject, PRESET_RULES)}
    return queries.rules_and_holders(tx, Entrance.FORM, keys)[1]


def find_namesakes(tx: Transaction, subjects: Sequence[Subject], held: Sequence[Held]) -> list[Held]:
    """Return the customers of the names asked for that do not hold the key (O5).

    They are from when the rule of names was off, or let them pass. held: what `find_holders` returned.
    """
    rule = (SubjectKind.CUSTOMER, RuleField.NAME)
    if rule not in queries.active_rules(tx).asked:
        return []
    known = {(item.key, item.subject_id) for item in held}
    return [
        Held(key, row.subject_id, row.reservation_id, row.holder_name, row.create_time)
        for subject in subjects
        for key in keys_of(subject, {rule})
        for row in index.namesakes(tx, subject.name)
        if (key, row.subject_id) not in known
    ]
