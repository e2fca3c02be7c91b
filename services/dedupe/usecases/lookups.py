"""Who holds which key, for those who only ask."""

from collections.abc import Sequence

from services.chassis.db import Transaction
from services.dedupe.domain.keys import Subject, keys_of
from services.dedupe.store import queries
from services.dedupe.store.queries import Held


def find_holders(tx: Transaction, subjects: Sequence[Subject]) -> list[Held]:
    """Return who holds the keys of these subjects, by the rules that are on."""
    active = queries.active_rules(tx)
    keys = {key for subject in subjects for key in keys_of(subject, active.asked)}
    return queries.holders(tx, keys)
