"""A leaver's customers go to others in batches; each batch is one transaction and finds what is left."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import AppError, Conflict, Forbidden, InvalidInput, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.domain.customers import Cause, Owner
from services.customers.store.ledger import Change, change_owners, lock_owners
from services.customers.store.rules import get_pool
from services.customers.store.tables import Customer, HandOver
from services.customers.workflows import contracts
from services.kernel.visibility import covers

RUNNING, DONE, FULL = "running", "done", "full"


@dataclass(frozen=True)
class HandOverDraft:
    """A hand-over as somebody wants it. pool_id: where what fits nobody goes, "" to leave it."""

    from_person: Owner
    to: tuple[Owner, ...]
    pool_id: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """A hand-over and how many customers the leaver still has."""

    row: HandOver
    left: int


def start_hand_over(tx: Transaction, caller: Caller, draft: HandOverDraft) -> Progress:
    """Begin a hand-over (F34); a manager's only of somebody in the own scope (F35).

    Raises Forbidden NOT_SUBORDINATE, InvalidInput LEAVER_GAINS naming to_person_ids, NotFound POOL_NOT_FOUND.
    """
    leaver = draft.from_person
    if leaver.person_id == caller.person_id or not covers(caller, leaver.person_id, leaver.department_path):
        raise Forbidden(
            "NOT_SUBORDINATE", "只能移交下属的客户", "You may hand over customers of subordinates only"
        )
    if leaver.person_id in (owner.person_id for owner in draft.to):
        raise InvalidInput(
            "to_person_ids", "LEAVER_GAINS", "接收人不能是移交人本人", "The leaver cannot get them"
        )
    if draft.pool_id:
        get_pool(tx, draft.pool_id)
    row = HandOver(
        tenant_id=tx.tenant.id,
        hand_over_id=new_id(),
        from_person_id=leaver.person_id,
        to_person_ids=[owner.person_id for owner in draft.to],
        to_department_paths=[owner.department_path for owner in draft.to],
        pool_id=draft.pool_id or None,
        reason=draft.reason,
        actor_id=caller.person_id,
        state=RUNNING,
        moved=0,
        pooled=0,
        create_time=tx.now,
    )
    tx.session.add(row)
    tx.session.flush()
    payload = contracts.HandOver(tx.tenant, row.hand_over_id, caller.person_id)
    tx.start_workflow(
        WorkflowStart(
            contracts.HAND_OVER_CUSTOMERS,
            contracts.hand_over_workflow_id(payload),
            contracts.QUEUE,
            payload,
        )
    )
    return Progress(row, _left(tx, row))


def get_hand_over(tx: Transaction, hand_over_id: str) -> Progress:
    """Return a hand-over; raises NotFound HAND_OVER_NOT_FOUND."""
    row = tx.session.get(HandOver, (tx.tenant.id, hand_over_id))
    if row is None:
        raise not_found("hand_over", "移交", hand_over_id)
    return Progress(row, _left(tx, row))


def hand_over_batch(tx: Transaction, hand_over_id: str, limit: int) -> bool:
    """Hand up to `limit` customers over and tell whether to go on.

    The next one in turn gets each; what doesn't fit a gainer's cap is offered to the others, then the pool.
    """
    row = tx.session.get(HandOver, (tx.tenant.id, hand_over_id), with_for_update=True)
    if row is None:
        raise not_found("hand_over", "移交", hand_over_id)
    if row.state != RUNNING:
        return False
    ids = tx.session.scalars(
        select(Customer.customer_id)
        .where(Customer.tenant_id == tx.tenant.id, Customer.owner_id == row.from_person_id)
        .order_by(Customer.create_time, Customer.customer_id)
        .limit(limit)
    ).all()
    to = [Owner(*pair) for pair in zip(row.to_person_ids, row.to_department_paths, strict=True)]
    gone = _spread(tx, row, ids, to)
    row.moved += gone["moved"]
    row.pooled += gone["pooled"]
    if gone.total():
        return True
    row.state = FULL if ids else DONE
    return False


def _spread(tx: Transaction, row: HandOver, ids: Sequence[str], to: Sequence[Owner]) -> Counter[str]:
    def check(customer: Customer) -> None:
        if customer.owner_id != row.from_person_id:
            raise Conflict("OWNER_CHANGED", "客户负责人已变更", "The customer has another owner by now")

    turn = row.moved % len(to)
    waiting, gone = list(ids), Counter[str]()
    # Every gainer's row before any customer: a later round must not lock one behind a customer.
    lock_owners(tx, row.to_person_ids)
    wanted: list[Owner | None] = [*to[turn:], *to[:turn]]
    for round_ in range(len(wanted)):
        changes = {
            customer_id: Change(Cause.HAND_OVER, wanted[(index + round_) % len(wanted)], reason=row.reason)
            for index, customer_id in enumerate(waiting)
        }
        results = change_owners(tx, changes, check) if changes else {}
        gone["moved"] += sum(not isinstance(result, AppError) for result in results.values())
        waiting = [
            customer_id
            for customer_id, result in results.items()
            if isinstance(result, AppError) and result.reason == "OWNER_CAP_REACHED"
        ]
    if waiting and row.pool_id:
        pooled = {
            customer_id: Change(Cause.HAND_OVER, None, pool_id=row.pool_id, reason=row.reason)
            for customer_id in waiting
        }
        results = change_owners(tx, pooled, check)
        gone["pooled"] += sum(not isinstance(result, AppError) for result in results.values())
    return gone


def _left(tx: Transaction, row: HandOver) -> int:
    query = select(func.count()).where(
        Customer.tenant_id == tx.tenant.id, Customer.owner_id == row.from_person_id
    )
    return tx.session.scalar(query) or 0
