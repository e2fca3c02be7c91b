"""Take keys for a writer, and what becomes of them: confirmed by the writer's events, or given back.

A reservation that was cancelled never comes back, so a writer who was told so cannot write after all.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import AlreadyExists, InvalidInput, RuleViolation, not_found
from services.dedupe.domain.keys import RuleField, Subject, SubjectKind, keys_of
from services.dedupe.domain.reservations import SETTLE_AFTER, ReservationState
from services.dedupe.domain.rules import Entrance, Verdict
from services.dedupe.metrics import RESERVATIONS
from services.dedupe.store import index, queries
from services.dedupe.store.index import Found
from services.dedupe.store.queries import Held
from services.dedupe.store.tables import HeldKey, MatchRecord, Reservation
from services.dedupe.usecases.matching import find_similar, similar_exists
from services.dedupe.usecases.reviews import drop_reviews, raise_reviews
from services.dedupe.workflows.contracts import QUEUE, SETTLE, WAKE, SettleTenant, settle_workflow_id
from services.kernel.china_time import display_time
from services.kernel.masking import mask_name

# What a rule protects, as a message names it.
LABELS = {
    (SubjectKind.CUSTOMER, RuleField.NAME): ("客户名称", "customer name"),
    (SubjectKind.CUSTOMER, RuleField.PHONE): ("客户电话", "customer number"),
    (SubjectKind.CONTACT, RuleField.PHONE): ("联系人电话", "contact number"),
    (SubjectKind.CUSTOMER, RuleField.CREDIT_CODE): ("统一社会信用代码", "credit code"),
    (SubjectKind.CUSTOMER, RuleField.PHONE_AND_NAME): (
        "客户电话与名称组合",
        "customer's number with this name",
    ),
    (SubjectKind.CONTACT, RuleField.PHONE_AND_NAME): (
        "联系人电话与姓名组合",
        "contact's number with this name",
    ),
    (SubjectKind.PROJECT, RuleField.NAME_AND_SITE): ("项目", "project"),
}


@dataclass(frozen=True)
class Reserved:
    """A reservation. settle_time: when its writer is asked what became of it. similar: customers like the new one."""

    settle_time: datetime
    similar: list[Found]


def reserve_keys(
    tx: Transaction,
    reservation_id: str,
    subjects: Sequence[Subject],
    holder_id: str,
    holder_name: str,
    entrance: Entrance = Entrance.FORM,
) -> Reserved:
    """Take every key of the subjects or none; from here on matching finds them.

    The same reservation again gives the same answer, only that similar ones are not found again. Raises AlreadyExists
    KEY_HELD with `holder` (masked), `kind`, `field` and `since` when another subject holds a key of a rule that blocks,
    and SIMILAR_EXISTS with the same; RuleViolation RESERVATION_CANCELLED; InvalidInput RESERVATION_REUSED when the id
    came before with other subjects.
    """
    digest = request_digest(subjects)
    will_wake = queries.begin_reserving(tx)
    settle_time = tx.now + SETTLE_AFTER
    reservation = {
        "reservation_id": reservation_id,
        "state": ReservationState.RESERVED.value,
        "request_digest": digest,
        "holder_id": holder_id or None,
        "holder_name": mask_name(holder_name),
        "settle_time": settle_time,
        "create_time": tx.now,
    }
    if not queries.insert_reservation(tx, reservation):
        return _repeated(tx, reservation_id, digest)
    # Two subjects of one reservation may share a key: it is theirs together.
    active = queries.active_rules(tx, entrance)
    wanted = {key: subject.id for subject in reversed(subjects) for key in keys_of(subject, active.noted)}
    taken = [
        held for held in queries.take_keys(tx, reservation_id, wanted) if held.subject_id != wanted[held.key]
    ]
    for held in taken:
        if active.of(held.key) is Verdict.BLOCK:
            RESERVATIONS.labels("refused").inc()
            raise key_held(held)
    similar = find_similar(tx, subjects, (), active)
    if similar and active.similar_verdict is Verdict.BLOCK:
        RESERVATIONS.labels("refused").inc()
        raise similar_exists(similar[0])
    index.add(tx, [(reservation_id, subjects)], holder_id, holder_name)
    for_review = [(wanted[held.key], held) for held in taken if active.of(held.key) is Verdict.REVIEW]
    raise_reviews(tx, subjects, for_review, similar if active.similar_verdict is Verdict.REVIEW else ())
    if not will_wake:
        tx.start_workflow(
            WorkflowStart(SETTLE, settle_workflow_id(tx.tenant.id), QUEUE, SettleTenant(tx.tenant), WAKE)
        )
    RESERVATIONS.labels("reserved").inc()
    return Reserved(settle_time, similar)


def request_digest(subjects: Sequence[Subject]) -> bytes:
    """Return what tells a repeated reservation from another one."""
    plain = [
        (subject.kind, subject.id, subject.name, subject.phones, subject.credit_code, subject.address)
        for subject in subjects
    ]
    return hashlib.sha256(repr(sorted(map(repr, plain))).encode()).digest()


def _repeated(tx: Transaction, reservation_id: str, digest: bytes) -> Reserved:
    stored = _get(tx, reservation_id)
    if stored.state == ReservationState.CANCELLED:
        raise cancelled(reservation_id)
    if stored.request_digest != digest:
        raise InvalidInput(
            "reservation_id",
            "RESERVATION_REUSED",
            "该预留编号已用于其他记录",
            "This reservation id was used for other records",
        )
    return Reserved(stored.settle_time, [])


def key_held(held: Held) -> AlreadyExists:
    """Return the refusal that names who holds a key."""
    zh, en = LABELS[held.key.kind, held.key.field]
    return AlreadyExists(
        "KEY_HELD",
        f"{zh}已被 {{holder}} 占用（{{since}} 起）",
        f"This {en} is held by {{holder}} since {{since}}",
        holder=held.holder_name,
        kind=held.key.kind.value,
        field=held.key.field.value,
        since=display_time(held.since),
    )


def cancelled(reservation_id: str) -> RuleViolation:
    """Return the refusal of a reservation that was given up."""
    return RuleViolation(
        "RESERVATION_CANCELLED",
        "该请求已作废，请重新提交",
        "This request was given up; submit it anew",
        reservation_id=reservation_id,
    )


def confirm(tx: Transaction, reservation_id: str) -> None:
    """Note that the writer wrote; again is no error.

    Raises NotFound RESERVATION_NOT_FOUND and RuleViolation RESERVATION_CANCELLED.
    """
    mine = {"tenant_id": tx.tenant.id, "reservation_id": reservation_id}
    if not queries.CONFIRMING.rows(tx, mine) and _get(tx, reservation_id):
        raise cancelled(reservation_id)


def cancel(tx: Transaction, reservation_id: str) -> None:
    """Give back the keys for good; only by the writer's word. One that never came is cancelled in advance."""
    # The row first: whoever reserves under this id meanwhile waits here or finds it cancelled.
    tx.session.execute(
        insert(Reservation)
        .values(
            tenant_id=tx.tenant.id,
            reservation_id=reservation_id,
            state=ReservationState.CANCELLED,
            request_digest=b"",
            holder_name="",
            settle_time=tx.now,
            create_time=tx.now,
        )
        .on_conflict_do_update(
            index_elements=[Reservation.tenant_id, Reservation.reservation_id],
            set_={"state": ReservationState.CANCELLED},
        )
    )
    tx.session.execute(
        delete(HeldKey).where(HeldKey.tenant_id == tx.tenant.id, HeldKey.reservation_id == reservation_id)
    )
    gone = tx.session.scalars(
        delete(MatchRecord)
        .where(MatchRecord.tenant_id == tx.tenant.id, MatchRecord.reservation_id == reservation_id)
        .returning(MatchRecord.subject_id)
    ).all()
    drop_reviews(tx, gone)


def free_subject(tx: Transaction, subject_id: str) -> None:
    """Give back what a record holds that its writer knows nothing of any more; other records keep theirs."""
    for table in (HeldKey, MatchRecord):
        tx.session.execute(
            delete(table).where(table.tenant_id == tx.tenant.id, table.subject_id == subject_id)
        )


def postpone(tx: Transaction, reservation_id: str) -> None:
    """Ask the writer again later about a reservation that it could not answer for now."""
    reservation = _get(tx, reservation_id)
    reservation.settle_time = tx.now + SETTLE_AFTER


def _get(tx: Transaction, reservation_id: str) -> Reservation:
    reservation = tx.session.scalar(
        select(Reservation)
        .where(Reservation.tenant_id == tx.tenant.id, Reservation.reservation_id == reservation_id)
        .with_for_update()
    )
    if reservation is None:
        raise not_found("reservation", "预留", reservation_id)
    return reservation
