"""Work on a customer: follow-ups and calls as evidence, and locks against the reclaim."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, exists, func, select

from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.chassis.errors import AppError, Forbidden, RuleViolation, not_found
from services.chassis.ids import new_id
from services.chassis.logging import get_logger
from services.chassis.numbers import hide_numbers
from services.chassis.tokens import Caller
from services.customers.domain.actions import may_follow
from services.customers.domain.customers import Cause, CustomerState, Owner, check_active, check_own
from services.customers.store.ledger import Change, change_owner, lock_customers, lock_owner
from services.customers.store.merge_tables import MOVED
from services.customers.store.rules import Rules, standing, sweep_start, tenant_settings
from services.customers.store.tables import Customer, FollowUp, OwnershipChange
from services.customers.usecases.timeline import CALL, forget, last_call, note
from services.customers.usecases.views import facts_of, seen_customer
from services.customers.workflows.contracts import Sweep
from services.kernel.ownership import MOST_LOCKS, Evidence, call_is_evidence, check_lock, fate

log = get_logger(__name__)

EVIDENCE_COLUMNS = {
    Evidence.FOLLOW_UP: "last_follow_up_time",
    Evidence.CALL: "last_call_time",
    Evidence.ORDER: "last_order_time",
    Evidence.CONTRACT: "last_contract_time",
}
# What the ledger says of a reclaim that is undone.
REVERSED = "回收前已有跟进，自动撤销回收"

_LAST_CHANGE = DriverQuery(
    select(OwnershipChange.cause, OwnershipChange.from_owner_id)
    .where(
        OwnershipChange.tenant_id == bindparam("tenant_id"),
        OwnershipChange.customer_id == bindparam("customer_id"),
    )
    .order_by(OwnershipChange.sequence.desc())
    .limit(1)
)

# Characters of a follow-up that others learn of.
FOLLOW_UP_SHOWN = 200


def add_follow_up(tx: Transaction, caller: Caller, customer_id: str, text: str) -> FollowUp:
    """Record work on a customer; it counts at once against the reclaim (F52, F71).

    A text that somebody recorded on this customer before is kept but is no evidence (O10). Raises NotFound
    CUSTOMER_NOT_FOUND, RuleViolation CUSTOMER_NOT_ACTIVE, Forbidden FOLLOW_UP_FORBIDDEN.
    """
    customer_id = seen_customer(tx, caller, customer_id).customer_id
    customer = _lock(tx, customer_id)
    check_active(customer.state)
    if not may_follow(facts_of(tx, caller, customer)):
        raise Forbidden(
            "FOLLOW_UP_FORBIDDEN",
            "只有客户负责人及其上级可以添加跟进记录",
            "Only the customer's owner and superiors may record a follow-up",
        )
    copied = tx.session.scalar(
        select(
            exists().where(
                FollowUp.tenant_id == tx.tenant.id,
                FollowUp.customer_id == customer_id,
                FollowUp.text == text,
            )
        )
    )
    follow_up = FollowUp(
        tenant_id=tx.tenant.id,
        follow_up_id=new_id(),
        customer_id=customer_id,
        author_id=caller.person_id,
        text=text,
        create_time=tx.now,
    )
    tx.session.add(follow_up)
    note(tx, customer_id, "follow_up", follow_up.follow_up_id, {"text": text})
    tx.emit(
        "follow_up_added",
        follow_up.follow_up_id,
        1,
        {
            "customerId": customer_id,
            "name": customer.name,
            "ownerId": customer.owner_id or "",
            "authorId": caller.person_id,
            "text": hide_numbers(text)[:FOLLOW_UP_SHOWN],
            "time": tx.now.isoformat(),
        },
    )
    if not copied:
        _add_evidence(tx, customer, Evidence.FOLLOW_UP, tx.now)
    return follow_up


def add_call(tx: Transaction, customer_id: str, end_time: datetime, *, answered: bool, talk_s: float) -> str:
    """Take a call that is over as evidence (O10), and return whose, "" if it is none; as `add_evidence`."""
    if not call_is_evidence(answered, talk_s):
        return ""
    return add_evidence(tx, customer_id, Evidence.CALL, end_time)


def withdraw_call(
    tx: Transaction, customer_id: str, call_id: str, end_time: datetime, *, answered: bool, talk_s: float
) -> None:
    """Take a call back that turned out to be another's: what remains is the evidence again.

    Raises NotFound CUSTOMER_NOT_FOUND, and CALL_NOT_FOUND while the customer has not heard of the call: that it ended
    and that it was another's come by two queues.
    """
    customer = _lock(tx, customer_id)
    forget(tx, customer_id, CALL, call_id)
    if not call_is_evidence(answered, talk_s):
        return
    end_time, known = min(end_time, tx.now), customer.last_call_time
    if known is None or known < end_time:
        raise not_found("call", "通话", call_id)
    if known > end_time:
        return
    customer.last_call_time = last_call(tx, customer_id)
    times = [getattr(customer, column) for column in EVIDENCE_COLUMNS.values()]
    customer.last_evidence_time = max(filter(None, times), default=None)
    customer.version += 1
    Rules(tx).set_due(customer)


def add_evidence(tx: Transaction, customer_id: str, kind: Evidence, time: datetime) -> str:
    """Take what another service tells as evidence of work at a time; raises NotFound CUSTOMER_NOT_FOUND.

    Returns the customer that stands for this one, held until the transaction ends. Evidence that turns out to be from
    before a reclaim undoes it, if it would have kept the customer, nobody claimed it meanwhile, and the former owner
    has room.
    """
    customer_id = MOVED.current(tx, customer_id, hold=True)
    loser_id = _loser(tx, customer_id)
    if loser_id:
        # The ledger's order of locks: who may gain it again comes before the customer.
        lock_owner(tx, loser_id)
    customer = _lock(tx, customer_id)
    _add_evidence(tx, customer, kind, min(time, tx.now))
    if loser_id and customer.owner_id is None and customer.state == CustomerState.ACTIVE:
        _undo_reclaim(tx, customer)
    return customer_id


def _add_evidence(tx: Transaction, customer: Customer, kind: Evidence, time: datetime) -> None:
    """Move the last evidence of a kind forward, never back: events may come in any order."""
    column = EVIDENCE_COLUMNS[kind]
    known = getattr(customer, column)
    if known and known >= time:
        return
    setattr(customer, column, time)
    customer.last_evidence_time = max(customer.last_evidence_time or time, time)
    customer.version += 1
    Rules(tx).set_due(customer)


def _loser(tx: Transaction, customer_id: str) -> str | None:
    """Return from whom a customer was taken back, if that was the last that happened to it."""
    for cause, from_owner_id in _LAST_CHANGE.rows(
        tx, {"tenant_id": tx.tenant.id, "customer_id": customer_id}
    ):
        return str(from_owner_id) if from_owner_id and cause == Cause.RECLAIM else None
    return None


def _last_change(tx: Transaction, customer_id: str) -> OwnershipChange | None:
    return tx.session.scalars(
        select(OwnershipChange)
        .where(OwnershipChange.tenant_id == tx.tenant.id, OwnershipChange.customer_id == customer_id)
        .order_by(OwnershipChange.sequence.desc())
        .limit(1)
    ).first()


def _undo_reclaim(tx: Transaction, customer: Customer) -> None:
    last = _last_change(tx, customer.customer_id)
    if last is None or last.cause != Cause.RECLAIM or last.from_owner_id is None:
        return
    own_time = datetime.fromisoformat(last.inputs["own_time"])
    was = replace(standing(customer), own_time=own_time)
    known = replace(was, last={kind: time for kind, time in was.last.items() if time <= last.create_time})
    falls = fate(Rules(tx).of(customer.pool_id if last.inputs.get("of_pool") else None).rule, known)
    if falls and falls.due.reclaim <= last.create_time:
        return
    path = str(last.inputs.get("owner_department_path", ""))
    change = Change(Cause.REVERSE, Owner(last.from_owner_id, path), reason=REVERSED)
    result = change_owner(tx, [customer.customer_id], change, lambda _: None)[customer.customer_id]
    if isinstance(result, AppError):
        log.info(
            "a reclaim stays: its owner has no room", customer_id=customer.customer_id, reason=result.reason
        )
        return
    # The owner has it since before; the clock goes on from the evidence.
    result.own_time = own_time
    Rules(tx).set_due(result)


def lock_customer(tx: Transaction, caller: Caller, customer_id: str, days: int) -> Customer:
    """Keep an own customer from being reclaimed for some days, 0 for the usual time; again sets it anew (F14).

    Raises NotFound CUSTOMER_NOT_FOUND, RuleViolation CUSTOMER_NOT_ACTIVE or LOCK_CAP_REACHED, Forbidden NOT_OWNER,
    InvalidInput LOCK_DAYS_OUT_OF_RANGE.
    """
    lock_owner(tx, caller.person_id)
    customer = _own(tx, caller, customer_id)
    others = tx.session.scalar(
        select(func.count()).where(
            Customer.tenant_id == tx.tenant.id,
            Customer.owner_id == caller.person_id,
            Customer.lock_expire_time > tx.now,
            Customer.customer_id != customer_id,
        )
    )
    limit = tenant_settings(tx).lock_cap or MOST_LOCKS
    customer.lock_expire_time = tx.now + check_lock(days, others or 0, limit)
    customer.version += 1
    # A warning from before the lock counts no more when it ends.
    Rules(tx).set_due(customer)
    return customer


def unlock_customer(tx: Transaction, caller: Caller, customer_id: str) -> Customer:
    """End a lock; what is due then is swept at once (F15).

    Raises NotFound CUSTOMER_NOT_FOUND, Forbidden NOT_OWNER, RuleViolation CUSTOMER_NOT_LOCKED.
    """
    customer = _own(tx, caller, customer_id)
    if customer.lock_expire_time is None or customer.lock_expire_time <= tx.now:
        raise RuleViolation("CUSTOMER_NOT_LOCKED", "该客户未锁定", "The customer is not locked")
    customer.lock_expire_time = None
    customer.version += 1
    tx.start_workflow(sweep_start(Sweep(tx.tenant, customer.pool_id or "")))
    return customer


def _own(tx: Transaction, caller: Caller, customer_id: str) -> Customer:
    customer = _lock(tx, seen_customer(tx, caller, customer_id).customer_id)
    check_active(customer.state)
    check_own(customer.owner_id, caller.person_id)
    return customer


def _lock(tx: Transaction, customer_id: str) -> Customer:
    found = lock_customers(tx, [customer_id])
    if not found:
        raise not_found("customer", "客户", customer_id)
    return found[0]
