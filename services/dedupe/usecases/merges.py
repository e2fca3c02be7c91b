"""Follow a merge of two customers, and its undo (F36).

The merged customer's own match record stays and names the survivor: whoever types the old name finds whom it is now.
Its keys are the survivor's, so that the survivor may be edited under either name, and nobody else takes them.
"""

from sqlalchemy import func, select, update

from services.chassis.db import Transaction
from services.dedupe.domain.keys import SubjectKind
from services.dedupe.store.index import FORMER
from services.dedupe.store.moves import MOVED
from services.dedupe.store.tables import HeldKey, MatchRecord
from services.dedupe.usecases.scans import follow_merged


def follow_merge(tx: Transaction, merge_id: str, survivor_id: str, merged_id: str, *, undo: bool) -> None:
    """Give keys and match records of the merged customer to the survivor, or give them back."""
    # Versions of two customers do not compare: what changes its customer takes the next word about the owner.
    unheard = (
        update(MatchRecord)
        .where(MatchRecord.tenant_id == tx.tenant.id, MatchRecord.customer_id == merged_id)
        .values(owner_version=0)
    )
    if not undo:
        tx.session.execute(unheard)
    if not MOVED.follow(tx, merge_id, merged_id, survivor_id, undo=undo):
        return
    if undo:
        tx.session.execute(unheard)
    follow_merged(tx, survivor_id, merged_id, undo=undo)
    own = MatchRecord.tenant_id == tx.tenant.id, MatchRecord.subject_id == merged_id
    tx.session.execute(update(MatchRecord).where(*own).values(kind=SubjectKind.CUSTOMER if undo else FORMER))
    keys = HeldKey.tenant_id == tx.tenant.id, HeldKey.kind == SubjectKind.CUSTOMER
    if not undo:
        tx.session.execute(
            update(HeldKey)
            .where(*keys, HeldKey.subject_id == merged_id)
            .values(
                subject_id=survivor_id,
                former_subject_id=func.coalesce(HeldKey.former_subject_id, HeldKey.subject_id),
            )
        )
        return
    # Whoever stands for a key's first subject now holds it: another merge may have carried the survivor on since.
    holder_id = MOVED.current(tx, survivor_id)
    formers = tx.session.scalars(
        select(HeldKey.former_subject_id)
        .where(*keys, HeldKey.subject_id == holder_id, HeldKey.former_subject_id.is_not(None))
        .distinct()
    ).all()
    for former_id in filter(None, formers):
        now = MOVED.current(tx, former_id)
        tx.session.execute(
            update(HeldKey)
            .where(*keys, HeldKey.subject_id == holder_id, HeldKey.former_subject_id == former_id)
            .values(subject_id=now, former_subject_id=None if now == former_id else former_id)
        )
