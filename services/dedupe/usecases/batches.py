"""Many reservations in one transaction, for imports: each whole or not at all, each with its own result.

What stands in a reservation and how it ends is the same as of `reserve_keys`; only the statements are few. Similar
customers are looked for where that rule blocks or asks for a review: an import has nobody to list them to.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from sqlalchemy import CursorResult, select, update

from services.chassis.bulk import insert_rows, one_of, planned_anew
from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import AlreadyExists, AppError, InvalidInput
from services.dedupe.domain.keys import Key, Subject, keys_of
from services.dedupe.domain.reservations import SETTLE_AFTER, ReservationState
from services.dedupe.domain.rules import Entrance, Verdict
from services.dedupe.metrics import RESERVATIONS
from services.dedupe.store import index, queries
from services.dedupe.store.queries import Active, Held
from services.dedupe.store.tables import HeldKey, Reservation
from services.dedupe.usecases.matching import find_similar, similar_exists
from services.dedupe.usecases.reservations import cancelled, key_held, request_digest
from services.dedupe.usecases.reviews import raise_reviews
from services.dedupe.workflows.contracts import QUEUE, SETTLE, WAKE, SettleTenant, settle_workflow_id
from services.kernel.masking import mask_name


@dataclass(frozen=True)
class Wanted:
    """A reservation to be made."""

    reservation_id: str
    subjects: tuple[Subject, ...]


# By reservation: the subject's id by key.
Keys = Mapping[str, Mapping[Key, str]]


def check_batch(
    tx: Transaction, wanted: Sequence[Wanted], holder_name: str = ""
) -> dict[str, AppError | None]:
    """Return for each reservation why it cannot be made, None where it can; takes nothing.

    Of two that want the same key the first gets it. Errors as of `reserve_keys`.
    """
    active = queries.active_rules(tx, Entrance.IMPORT)
    keys = _keys(wanted, active.noted)
    with planned_anew(tx.session):
        held = _held(tx, wanted, keys)
    return _judge(tx, wanted, keys, held, active, holder_name).results


def reserve_batch(
    tx: Transaction, wanted: Sequence[Wanted], holder_id: str, holder_name: str
) -> dict[str, AppError | None]:
    """Make the reservations that can be made; return as `check_batch`.

    The same reservation again gives the same result. Waits for a simultaneous taker of a key to commit.
    """
    will_wake = queries.begin_reserving(tx)
    active = queries.active_rules(tx, Entrance.IMPORT)
    keys = _keys(wanted, active.noted)
    # Nearly all were looked at before and are free still, which is found out by taking them; not where a look costs
    # more than the keys.
    look = active.similar_verdict is Verdict.BLOCK
    while True:
        with planned_anew(tx.session):
            known = _known(tx, wanted)
            fresh = [item for item in wanted if item.reservation_id not in known]
            held = _held(tx, fresh, keys) if look else {}
        judged = _judge(tx, fresh, keys, held, active, holder_name)
        accepted = judged.accepted
        with tx.session.begin_nested() as attempt:
            if _insert_reservations(tx, accepted, holder_id, holder_name) and _insert_keys(
                tx, accepted, keys, held
            ):
                break
            # Somebody has one of them, or was faster between our look and our statement: look, at all of them.
            attempt.rollback()
        look = True
    index.add(tx, [(item.reservation_id, item.subjects) for item in accepted], holder_id, holder_name)
    for item in accepted:
        # Now that all are in the index, they are found like each other too.
        similar = (
            find_similar(tx, item.subjects, (), active) if active.similar_verdict is Verdict.REVIEW else ()
        )
        raise_reviews(tx, item.subjects, judged.for_review.get(item.reservation_id, ()), similar)
    results = judged.results
    if accepted and not will_wake:
        tx.start_workflow(
            WorkflowStart(SETTLE, settle_workflow_id(tx.tenant.id), QUEUE, SettleTenant(tx.tenant), WAKE)
        )
    RESERVATIONS.labels("reserved").inc(len(accepted))
    RESERVATIONS.labels("refused").inc(len(fresh) - len(accepted))
    for item in wanted:
        if stored := known.get(item.reservation_id):
            results[item.reservation_id] = _repeated(item, stored)
    return results


def confirm_batch(tx: Transaction, reservation_ids: Sequence[str]) -> None:
    """Note that the writer wrote; one that is not there or was cancelled stays as it is."""
    confirmed = (
        update(Reservation)
        .where(
            Reservation.tenant_id == tx.tenant.id,
            one_of(Reservation.reservation_id, reservation_ids),
            # Not "is reserved": the index of those, which the statistics may hold for empty, would be read instead.
            Reservation.state.not_in((ReservationState.CONFIRMED, ReservationState.CANCELLED)),
        )
        .values(state=ReservationState.CONFIRMED)
        .execution_options(synchronize_session=False)
    )
    with planned_anew(tx.session):
        tx.session.execute(confirmed)


def _keys(wanted: Sequence[Wanted], noted: Collection[tuple[str, str]]) -> Keys:
    """Return every key that is noted; two subjects of one reservation may share a key."""
    return {
        item.reservation_id: {
            key: subject.id for subject in reversed(item.subjects) for key in keys_of(subject, noted)
        }
        for item in wanted
    }


@dataclass(frozen=True)
class _Judged:
    """What becomes of each reservation. for_review: keys of accepted ones that somebody else has, by reservation."""

    results: dict[str, AppError | None]
    accepted: Sequence[Wanted]
    for_review: Mapping[str, Sequence[tuple[str, Held]]]


def _judge(
    tx: Transaction,
    wanted: Sequence[Wanted],
    keys_by_id: Keys,
    held: Mapping[Key, Held],
    active: Active,
    holder_name: str,
) -> _Judged:
    """Return each reservation's result by who holds what."""
    results: dict[str, AppError | None] = {}
    accepted: list[Wanted] = []
    for_review: dict[str, list[tuple[str, Held]]] = {}
    # Keys that an earlier one of this batch gets: the reservation and the subject.
    taken: dict[Key, tuple[str, str]] = {}
    masked = mask_name(holder_name)
    for item in wanted:
        refusal: AlreadyExists | None = None
        keys = keys_by_id[item.reservation_id]
        # Most keys are nobody's.
        for key in sorted(key for key in keys if key in held or key in taken):
            holder = held.get(key) or Held(key, taken[key][1], taken[key][0], masked, tx.now)
            if holder.subject_id == keys[key]:
                continue
            if active.of(key) is Verdict.BLOCK:
                refusal = key_held(holder)
                break
            if active.of(key) is Verdict.REVIEW:
                for_review.setdefault(item.reservation_id, []).append((keys[key], holder))
        if refusal is None and active.similar_verdict is Verdict.BLOCK:
            similar = find_similar(tx, item.subjects, (), active)
            refusal = similar_exists(similar[0]) if similar else None
        results[item.reservation_id] = refusal
        if refusal is None:
            accepted.append(item)
            for key, subject_id in keys.items():
                taken.setdefault(key, (item.reservation_id, subject_id))
    return _Judged(results, accepted, for_review)


def _held(tx: Transaction, wanted: Sequence[Wanted], keys: Keys) -> dict[Key, Held]:
    asked = {key for item in wanted for key in keys[item.reservation_id]}
    return {found.key: found for found in queries.holders(tx, asked)}


def _known(tx: Transaction, wanted: Sequence[Wanted]) -> dict[str, Reservation]:
    rows = tx.session.scalars(
        select(Reservation).where(
            Reservation.tenant_id == tx.tenant.id,
            one_of(Reservation.reservation_id, (item.reservation_id for item in wanted)),
        )
    )
    return {row.reservation_id: row for row in rows}


def _repeated(item: Wanted, stored: Reservation) -> AppError | None:
    if stored.state == ReservationState.CANCELLED:
        return cancelled(item.reservation_id)
    if stored.request_digest != request_digest(item.subjects):
        return InvalidInput(
            "reservation_id",
            "RESERVATION_REUSED",
            "该预留编号已用于其他记录",
            "This reservation id was used for other records",
        )
    return None


def _insert_reservations(
    tx: Transaction, accepted: Sequence[Wanted], holder_id: str, holder_name: str
) -> bool:
    """Add the rows of reservations; tell whether none of them came from elsewhere meanwhile."""
    if not accepted:
        return True
    masked = mask_name(holder_name)
    rows = [
        {
            "tenant_id": tx.tenant.id,
            "reservation_id": item.reservation_id,
            "state": ReservationState.RESERVED,
            "request_digest": request_digest(item.subjects),
            "holder_id": holder_id or None,
            "holder_name": masked,
            "settle_time": tx.now + SETTLE_AFTER,
            "create_time": tx.now,
        }
        for item in accepted
    ]
    return _inserts_all(tx, Reservation, rows)


def _insert_keys(tx: Transaction, accepted: Sequence[Wanted], keys: Keys, held: Mapping[Key, Held]) -> bool:
    """Take the free keys, in the order that everybody takes them; tell whether all were free still."""
    # Reversed: the first that wants a key gets it.
    owners = {
        key: (item, subject)
        for item in reversed(accepted)
        for key, subject in keys[item.reservation_id].items()
    }
    rows = [
        {
            "tenant_id": tx.tenant.id,
            "kind": key.kind,
            "field": key.field,
            "digest": key.digest,
            "subject_id": subject_id,
            "reservation_id": item.reservation_id,
        }
        for key, (item, subject_id) in sorted(owners.items(), key=itemgetter(0))
        if key not in held
    ]
    if not rows:
        return True
    return _inserts_all(tx, HeldKey, rows)


def _inserts_all(
    tx: Transaction, table: type[Reservation] | type[HeldKey], rows: Sequence[Mapping[str, object]]
) -> bool:
    """Insert rows; tell whether none of them was there."""
    added = insert_rows(table, rows).on_conflict_do_nothing()
    # A count, not the rows: only whether all are new is asked.
    result = tx.session.execute(added, execution_options={"preserve_rowcount": True})
    return isinstance(result, CursorResult) and result.rowcount == len(rows)
