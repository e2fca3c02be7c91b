"""See that no message waits for ever: what no modem will move is moved here, once every few seconds.

A modem whose process is gone gives back what it had; what is worth nothing any more fails; a reminder that no modem
can send fails soon, so that it goes another way; received parts whose rest never comes are shown.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, exists, func, select, union

from services.chassis.db import Store, Transaction
from services.chassis.tenancy import Tenant
from services.telephony.domain.bulk import BulkState
from services.telephony.domain.sms import Lane, Reason, SegmentState, SmsState
from services.telephony.store import tables
from services.telephony.store.rows import Row, every
from services.telephony.usecases import bulk, modems, replies
from services.telephony.usecases.sms import fail, recover

# Messages that one round fails at most, of each cause.
BATCH: Final = 500


@dataclass(frozen=True)
class Kept:
    """What one round found: whether urgent or reminding messages wait while no modem sends, and what was given up."""

    blocked: bool
    unrouted: int


def tenants_at_work(store: Store, database: str) -> list[Tenant]:
    """Return the tenants of a database who have SMS that wait or are due, parts not joined, or senders to find."""
    sms, received, incoming, bulks = tables.sms, tables.sms_received, tables.sms_incoming, tables.sms_bulk
    query = union(
        select(sms.c.tenant_id).where(sms.c.state.in_([SmsState.QUEUED, SmsState.SENDING])),
        select(received.c.tenant_id).where(received.c.match_time.is_(None)),
        select(incoming.c.tenant_id).where(incoming.c.received_id.is_(None)),
        select(bulks.c.tenant_id).where(
            bulks.c.state == BulkState.RUNNING, bulks.c.start_time <= store.clock()
        ),
    )
    with store.across(database) as session:
        return [Tenant(tenant_id, database) for tenant_id in session.scalars(query)]


def keep_up(tx: Transaction) -> Kept:
    """Do one round for one tenant; of two processes at once, one does nothing."""
    mine = tx.session.scalar(
        select(func.pg_try_advisory_xact_lock(func.hashtextextended(f"sms upkeep {tx.tenant.id}", 0)))
    )
    if not mine:
        return Kept(False, 0)
    for modem in modems.gone_modems(tx):
        recover(tx, modem)
    replies.join_incomplete(tx)
    sms = tables.sms
    for row in _waiting(
        tx, sms.c.expire_time <= tx.now, sms.c.state.in_([SmsState.QUEUED, SmsState.SENDING])
    ):
        fail(tx, row, Reason.EXPIRED, "expired")
    bulk.feed(tx)
    if modems.can_send(tx):
        return Kept(False, 0)
    policy, unrouted, waiting = modems.policy_of(tx), 0, 0
    for lane in (Lane.URGENT, Lane.REMINDER):
        patience = policy.waits(lane)
        for row in _waiting(tx, sms.c.lane == lane.value, sms.c.state == SmsState.QUEUED):
            waiting += 1
            if patience is not None and row["next_attempt_time"] <= tx.now - patience:
                fail(tx, row, Reason.NO_MODEM, "no modem can send")
                unrouted += 1
    return Kept(waiting > 0, unrouted)


def _waiting(tx: Transaction, *conditions: ColumnElement[bool]) -> list[Row]:
    """Return the first queued segment of each message under these conditions that has none with a modem; locked."""
    sms, segment = tables.sms, tables.sms_segment
    held, before = segment.alias(), segment.alias()
    query = (
        select(segment)
        .join(sms, sms.c.id == segment.c.sms_id)
        .where(
            sms.c.tenant_id == tx.tenant.id,
            segment.c.state == SegmentState.QUEUED,
            segment.c.next_attempt_time <= tx.now,
            ~exists().where(
                held.c.sms_id == sms.c.id, held.c.state.in_([SegmentState.CLAIMED, SegmentState.SENDING])
            ),
            ~exists().where(
                before.c.sms_id == sms.c.id,
                before.c.part < segment.c.part,
                before.c.state == SegmentState.QUEUED,
            ),
            *conditions,
        )
        .order_by(sms.c.id)
        .limit(BATCH)
        .with_for_update(of=sms, skip_locked=True)
    )
    return every(tx.session, query)
