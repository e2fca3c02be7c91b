"""A leaver's customers go to others in batches; each batch is one transaction and finds what is left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, tuple_

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import AppError, Conflict, Forbidden, InvalidInput, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.domain.customers import Cause, Owner
from services.customers.store.ledger import Change, change_owners, lock_owners
from services.customers.store.rules import get_pool
from services.customers.store.tables import Customer, HandOver, HandOverItem
from services.customers.workflows import contracts
from services.kernel.visibility import covers, visible

RUNNING, DONE, FULL = "running", "done", "full"
# Why a customer stays where it is: every gainer's cap is reached.
FITS_NOBODY = "OWNER_CAP_REACHED"


@dataclass(frozen=True)
class HandOverDraft:
    """A hand-over as somebody wants it. pool_id: where what fits nobody goes, "" to leave it."""

    from_person: Owner
    to: tuple[Owner, ...]
    pool_id: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """A hand-over and how many customers the leaver still has of those that it is about."""

    row: HandOver
    left: int


@dataclass(frozen=True)
class HandedOver:
    """What became of a customer. name: what it is called now."""

    item: HandOverItem
    name: str


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
        from_department_path=leaver.department_path,
        to_person_ids=[owner.person_id for owner in draft.to],
        to_department_paths=[owner.department_path for owner in draft.to],
        pool_id=draft.pool_id or None,
        reason=draft.reason,
        actor_id=caller.person_id,
        state=RUNNING,
        moved=0,
        pooled=0,
        refused=0,
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


def get_hand_over(tx: Transaction, caller: Caller, hand_over_id: str) -> Progress:
    """Return a hand-over that the caller began, or of somebody in the own scope.

    Raises NotFound HAND_OVER_NOT_FOUND.
    """
    row = tx.session.scalar(select(HandOver).where(*_seen(tx, caller), HandOver.hand_over_id == hand_over_id))
    if row is None:
        raise not_found("hand_over", "移交", hand_over_id)
    return Progress(row, _left(tx, row))


def list_hand_overs(
    tx: Transaction, caller: Caller, after: tuple[datetime, str] | None, limit: int
) -> list[Progress]:
    """Return hand-overs as `get_hand_over` does, newest first."""
    query = select(HandOver).where(*_seen(tx, caller))
    if after:
        query = query.where(tuple_(HandOver.create_time, HandOver.hand_over_id) < after)
    rows = tx.session.scalars(
        query.order_by(HandOver.create_time.desc(), HandOver.hand_over_id.desc()).limit(limit)
    )
    return [Progress(row, _left(tx, row)) for row in rows]


def list_items(
    tx: Transaction,
    caller: Caller,
    hand_over_id: str,
    *,
    refused: bool,
    after: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[HandedOver]:
    """Return what became of each customer so far, the first first; refused: only those that fitted nobody.

    Raises as `get_hand_over`.
    """
    get_hand_over(tx, caller, hand_over_id)
    conditions = [HandOverItem.tenant_id == tx.tenant.id, HandOverItem.hand_over_id == hand_over_id]
    if refused:
        conditions.append(HandOverItem.refusal != "")
    if after:
        conditions.append(tuple_(HandOverItem.create_time, HandOverItem.customer_id) > after)
    rows = tx.session.execute(
        select(HandOverItem, Customer.name)
        .join(
            Customer,
            (Customer.tenant_id == HandOverItem.tenant_id)
            & (Customer.customer_id == HandOverItem.customer_id),
        )
        .where(*conditions)
        .order_by(HandOverItem.create_time, HandOverItem.customer_id)
        .limit(limit)
    )
    return [HandedOver(row.HandOverItem, row.name) for row in rows]


def hand_over_batch(tx: Transaction, hand_over_id: str, limit: int) -> bool:
    """Hand up to `limit` customers over and tell whether to go on.

    The next one in turn gets each; what doesn't fit a gainer's cap is offered to the others, then the pool. Each
    customer is tried once; what became of it is written with it.
    """
    row = tx.session.get(HandOver, (tx.tenant.id, hand_over_id), with_for_update=True)
    if row is None:
        raise not_found("hand_over", "移交", hand_over_id)
    if row.state != RUNNING:
        return False
    tried = exists().where(
        HandOverItem.tenant_id == tx.tenant.id,
        HandOverItem.hand_over_id == hand_over_id,
        HandOverItem.customer_id == Customer.customer_id,
    )
    ids = tx.session.scalars(
        select(Customer.customer_id)
        .where(Customer.tenant_id == tx.tenant.id, Customer.owner_id == row.from_person_id, ~tried)
        .order_by(Customer.create_time, Customer.customer_id)
        .limit(limit)
    ).all()
    if not ids:
        row.state, row.end_time = FULL if row.refused else DONE, tx.now
        return False
    to = [Owner(*pair) for pair in zip(row.to_person_ids, row.to_department_paths, strict=True)]
    items = [_item(row, tx.now, *result) for result in _spread(tx, row, ids, to).items()]
    if items:
        tx.session.execute(insert_rows(HandOverItem, items))
    row.moved += sum(item["to_person_id"] is not None for item in items)
    row.pooled += sum(item["pool_id"] is not None for item in items)
    row.refused += sum(item["refusal"] != "" for item in items)
    return True


def _spread(
    tx: Transaction, row: HandOver, ids: Sequence[str], to: Sequence[Owner]
) -> dict[str, Customer | AppError]:
    """Give customers to whom they fit; return what became of each that was still the leaver's."""

    def check(customer: Customer) -> None:
        if customer.owner_id != row.from_person_id:
            raise Conflict("OWNER_CHANGED", "客户负责人已变更", "The customer has another owner by now")

    # Every gainer's row before any customer: a later offer must not lock one behind a customer.
    lock_owners(tx, row.to_person_ids)
    results: dict[str, Customer | AppError] = {}
    waiting = list(ids)
    for offer in _offers(row, ids, to):
        results |= change_owners(tx, {customer_id: offer[customer_id] for customer_id in waiting}, check)
        waiting = [customer_id for customer_id in waiting if _reason(results[customer_id]) == FITS_NOBODY]
        if not waiting:
            break
    return {key: result for key, result in results.items() if _reason(result) in ("", FITS_NOBODY)}


def _offers(row: HandOver, ids: Sequence[str], to: Sequence[Owner]) -> Iterator[dict[str, Change]]:
    """Return to whom each customer is offered, one offer behind the other: to each gainer once, then to the pool."""
    for round_ in range(len(to)):
        turn = row.moved + round_
        yield {
            customer_id: Change(Cause.HAND_OVER, to[(turn + index) % len(to)], reason=row.reason)
            for index, customer_id in enumerate(ids)
        }
    if row.pool_id:
        yield dict.fromkeys(ids, Change(Cause.HAND_OVER, None, pool_id=row.pool_id, reason=row.reason))


def _reason(result: Customer | AppError) -> str:
    return result.reason if isinstance(result, AppError) else ""


def _item(row: HandOver, now: datetime, customer_id: str, result: Customer | AppError) -> dict[str, Any]:
    moved = None if isinstance(result, AppError) else result
    return {
        "tenant_id": row.tenant_id,
        "hand_over_id": row.hand_over_id,
        "customer_id": customer_id,
        "to_person_id": moved.owner_id if moved else None,
        "pool_id": moved.pool_id if moved and not moved.owner_id else None,
        "refusal": _reason(result),
        "create_time": now,
    }


def _seen(tx: Transaction, caller: Caller) -> list[ColumnElement[bool]]:
    return [
        HandOver.tenant_id == tx.tenant.id,
        or_(
            HandOver.actor_id == caller.person_id,
            visible(caller, HandOver.from_person_id, HandOver.from_department_path),
        ),
    ]


def _left(tx: Transaction, row: HandOver) -> int:
    """Return how many are still the leaver's: of one that is over, as it was then."""
    if row.end_time:
        return row.refused
    query = select(func.count()).where(
        Customer.tenant_id == tx.tenant.id, Customer.owner_id == row.from_person_id
    )
    return tx.session.scalar(query) or 0
