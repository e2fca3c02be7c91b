"""Give the keys of a rule that came on to what was there before it, and list what breaks it (F147)."""

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Store, Transaction
from services.chassis.tenancy import Tenant
from services.dedupe.domain.keys import Key, SubjectKind, keys_from
from services.dedupe.domain.reservations import ReservationState
from services.dedupe.store import index, queries
from services.dedupe.store.tables import Backfill, Clash, HeldKey, MatchRecord, Reservation

# Records of one transaction, and transactions of one run.
BATCH = 500
BATCHES = 20


def backfill(store: Store, tenant: Tenant) -> bool:
    """Key the next records of every rule that came on; tell whether more are to come. A crash loses no step."""
    for _ in range(BATCHES):
        with store.transaction(tenant) as tx:
            if not _step(tx):
                return False
    return True


def _step(tx: Transaction) -> bool:
    # Skipped when another worker is at it: it will do the rest.
    work = tx.session.scalar(
        select(Backfill)
        .where(Backfill.tenant_id == tx.tenant.id)
        .order_by(Backfill.kind, Backfill.field)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if work is None:
        return False
    kinds = (work.kind, index.FORMER) if work.kind == SubjectKind.CUSTOMER else (work.kind,)
    # The reservations are locked, shared: one that is given back meanwhile waits, and takes these keys with it.
    rows = tx.session.scalars(
        select(MatchRecord)
        .join(
            Reservation,
            (Reservation.tenant_id == MatchRecord.tenant_id)
            & (Reservation.reservation_id == MatchRecord.reservation_id),
        )
        .where(
            MatchRecord.tenant_id == tx.tenant.id,
            MatchRecord.kind.in_(kinds),
            MatchRecord.subject_id > work.after,
            Reservation.state != ReservationState.CANCELLED,
        )
        .order_by(MatchRecord.subject_id)
        .limit(BATCH)
        .with_for_update(read=True, of=Reservation)
    ).all()
    own = (Backfill.tenant_id == tx.tenant.id, Backfill.kind == work.kind, Backfill.field == work.field)
    if not rows:
        tx.session.execute(delete(Backfill).where(*own))
        return True
    noted = {(work.kind, work.field)}
    wanted = [
        (key, row)
        for row in rows
        for key in keys_from(SubjectKind(work.kind), row.name, row.phones, row.credit_code, noted)
    ]
    _take(tx, wanted)
    tx.session.execute(update(Backfill).where(*own).values(after=rows[-1].subject_id))
    return True


def _take(tx: Transaction, wanted: list[tuple[Key, MatchRecord]]) -> None:
    while wanted:
        first: dict[Key, MatchRecord] = {}
        for key, row in wanted:
            first.setdefault(key, row)
        values = [
            {
                "tenant_id": tx.tenant.id,
                "kind": key.kind,
                "field": key.field,
                "digest": key.digest,
                "subject_id": _holder(row),
                "former_subject_id": row.subject_id if row.kind == index.FORMER else None,
                "reservation_id": row.reservation_id,
            }
            for key, row in sorted(first.items(), key=lambda item: item[0])
        ]
        tx.session.execute(insert(HeldKey).values(values).on_conflict_do_nothing())
        holders = {held.key: held.subject_id for held in queries.holders(tx, list(first))}
        clashes = [
            {
                "tenant_id": tx.tenant.id,
                "kind": key.kind,
                "field": key.field,
                "subject_id": _holder(row),
                "holder_subject_id": holders[key],
                "create_time": tx.now,
            }
            for key, row in wanted
            if key in holders and holders[key] != _holder(row)
        ]
        if clashes:
            tx.session.execute(insert(Clash).values(clashes).on_conflict_do_nothing())
        # Given back between the two statements: it is free now.
        wanted = [(key, row) for key, row in wanted if key not in holders]


def _holder(row: MatchRecord) -> str:
    """Return who holds a record's keys: one that was merged holds none of its own."""
    return row.customer_id if row.kind == index.FORMER else row.subject_id
