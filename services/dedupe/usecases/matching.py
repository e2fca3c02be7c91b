"""Who might be whom: the check before a create, and the look-up of a keyword."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists
from services.dedupe.domain.evidence import weights_of
from services.dedupe.domain.keys import PRESET_RULES, RuleField, Subject, SubjectKind, digest_of, keys_of
from services.dedupe.domain.rules import Entrance, Verdict, strongest
from services.dedupe.matching.normalise import fold, normalise
from services.dedupe.matching.weights import Record
from services.dedupe.store import index, queries
from services.dedupe.store.index import Found
from services.dedupe.store.queries import Active, Held
from services.kernel.china_time import display_time

# Similar customers that are shown.
SHOWN = 10


@dataclass(frozen=True)
class Check:
    """What creating a record would come to. verdict: of the strongest hit, None when there is none."""

    verdict: Verdict | None
    held: list[Held]
    similar: list[Found]


def check_duplicates(tx: Transaction, subject: Subject, contacts: Sequence[str], entrance: Entrance) -> Check:
    """Return what a customer would hit, by the rules of an entrance (F149, O2). contacts: names as typed."""
    active, held = queries.rules_and_holders(tx, entrance, keys_of(subject, PRESET_RULES))
    similar = find_similar(tx, [subject], contacts, active)
    hits = [active.of(item.key) for item in held]
    if similar:
        hits.append(active.similar_verdict)
    return Check(strongest(filter(None, hits)), held, similar)


def find_similar(
    tx: Transaction, subjects: Sequence[Subject], contacts: Sequence[str], active: Active
) -> list[Found]:
    """Return customers like the one among the subjects, the likeliest first; none while the rule of that is off."""
    customer = next((subject for subject in subjects if subject.kind == SubjectKind.CUSTOMER), None)
    if customer is None or active.similar_from is None:
        return []
    of_contacts = [subject for subject in subjects if subject.kind == SubjectKind.CONTACT]
    probe = Record(
        name=normalise(customer.name),
        phones=frozenset(digest_of(phone) for subject in subjects for phone in subject.phones),
        credit_code=digest_of(customer.credit_code),
        contacts=frozenset(
            fold(name) for name in (*contacts, *(subject.name for subject in of_contacts)) if name
        ),
        address=customer.address,
    )
    weights = weights_of(active.evidence, active.similar_from)
    return index.find(tx, probe, weights, SHOWN, besides=customer.id)


def similar_exists(found: Found) -> AlreadyExists:
    """Return the refusal of a customer that is too much like another."""
    return AlreadyExists(
        "SIMILAR_EXISTS",
        "与 {holder} 的客户高度相似（{since} 起）",
        "This is much like a customer of {holder}, there since {since}",
        holder=found.holder_name,
        kind=SubjectKind.CUSTOMER.value,
        field=RuleField.SIMILAR.value,
        since=display_time(found.row.create_time),
    )


def note_owner(tx: Transaction, customer_id: str, owner_id: str, version: int) -> None:
    """Note who owns a customer since its version, "" for nobody; one that matching does not know needs no note.

    What is older than what was noted is left out: each kind of change comes by a queue of its own.
    """
    facts = {"customer_id": customer_id, "owner_id": owner_id or None, "owner_version": version}
    queries.NOTE_OWNER.rows(tx, facts | {"tenant_id": tx.tenant.id})
