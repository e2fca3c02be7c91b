"""Merge two customers into one survivor, and take it back at any later time (F36).

Our own rows move in one transaction, with the owner's loss in the ledger. The others' follow by a saga: `merge_asked`
tells them, each moves its rows in a transaction of its own and answers by `merge_followed`, and a workflow asks again
until all have. Every step may be told twice and a process may die between any two: what is done stands in the rows.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_

from services.chassis.db import Transaction, WorkflowSignal, WorkflowStart
from services.chassis.errors import AppError, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.domain.customers import Cause, Owner, check_active
from services.customers.domain.merges import (
    CUSTOM,
    FIELDS,
    FOLLOWERS,
    MergeState,
    check_pair,
    check_taken,
    check_undoable,
    put_back,
)
from services.customers.domain.search import found_by
from services.customers.store.ledger import Change, change_one, change_owner, lock_customers, lock_owner
from services.customers.store.merge_tables import MOVED, Merge
from services.customers.store.rules import Rules, tenant_settings
from services.customers.store.tables import Customer
from services.customers.usecases.fields import FieldObject, definitions, hold_values
from services.customers.usecases.timeline import note
from services.customers.usecases.views import seen_customer
from services.customers.workflows import contracts

# Of a customer, the later one counts after a merge.
TIMES = (
    "last_evidence_time",
    "last_follow_up_time",
    "last_call_time",
    "last_order_time",
    "last_contract_time",
)
REASON = "客户合并"
UNDONE_REASON = "撤销合并"


def compare_customers(
    tx: Transaction, caller: Caller, survivor_id: str, merged_id: str
) -> tuple[Customer, Customer, list[str]]:
    """Return two customers that somebody wants to merge, and the fields in which they differ.

    Raises InvalidInput MERGE_WITH_ITSELF, and as `get_customer`.
    """
    check_pair(survivor_id, merged_id)
    one, other = (seen_customer(tx, caller, customer_id) for customer_id in (survivor_id, merged_id))
    check_pair(one.customer_id, other.customer_id)
    names = [*FIELDS, *(f"{CUSTOM}{definition.key}" for definition in definitions(tx))]
    return one, other, [name for name in names if value_of(one, name) != value_of(other, name)]


def merge_customers(
    tx: Transaction, caller: Caller, survivor_id: str, merged_id: str, taken: Sequence[str]
) -> Merge:
    """Merge a customer into another, which takes the named fields over from it.

    Raises InvalidInput MERGE_WITH_ITSELF or FIELD_NOT_MERGEABLE, RuleViolation CUSTOMER_NOT_ACTIVE or CUSTOMER_TRASHED,
    and as `get_customer`.
    """
    survivor, merged, _ = compare_customers(tx, caller, survivor_id, merged_id)
    taken = check_taken(taken, {definition.key: definition for definition in definitions(tx)})
    survivor_id, merged_id = survivor.customer_id, merged.customer_id
    lock_customers(tx, [survivor_id, merged_id])
    for customer in (survivor, merged):
        check_active(customer.state)
    merge = Merge(
        tenant_id=tx.tenant.id,
        merge_id=new_id(),
        survivor_id=survivor_id,
        merged_id=merged_id,
        survivor_name=survivor.name,
        merged_name=merged.name,
        state=MergeState.RUNNING,
        taken=taken,
        survivor_before=_plain({name: value_of(survivor, name) for name in (*taken, *TIMES, "parent_id")}),
        survivor_after={},
        merged_before=_plain(
            {
                name: getattr(merged, name)
                for name in ("owner_id", "owner_department_path", "pool_id", "own_time")
            }
        ),
        followed=[],
        actor_id=caller.person_id,
        create_time=tx.now,
        version=1,
    )
    values = {name: value_of(merged, name) for name in taken}
    values |= {name: _later(getattr(survivor, name), getattr(merged, name)) for name in TIMES}
    if values.get("parent_id", survivor.parent_id) in (merged_id, survivor_id):
        values["parent_id"] = None
    _free_values(tx, merged, taken)
    change_one(tx, merged_id, Change(Cause.MERGE, None, reason=REASON), lambda _: None)
    MOVED.move(tx, merge.merge_id, merged_id, survivor_id)
    _set(tx, survivor, values)
    merge.survivor_after = _plain({name: value_of(survivor, name) for name in merge.survivor_before})
    tx.session.add(merge)
    note(
        tx,
        survivor_id,
        "merge",
        merge.merge_id,
        {"what": "customers_merged", "name": merged.name, "fields": taken},
        key="merge",
    )
    _begin(tx, merge)
    return merge


def undo_merge(tx: Transaction, caller: Caller, merge_id: str) -> Merge:
    """Take a merge back, at any later time: both customers are there again, each with its own rows.

    What somebody edited since stays as it is. The merged one goes back to its owner; where the owner has no room for it
    any more, to its pool. Raises NotFound MERGE_NOT_FOUND, RuleViolation MERGE_RUNNING or MERGE_UNDONE.
    """
    merge = _locked(tx, merge_id)
    check_undoable(merge.state)
    before = merge.merged_before
    if before["owner_id"]:
        # The ledger's order of locks: who gains comes before the customers.
        lock_owner(tx, before["owner_id"])
    customers = lock_customers(tx, [MOVED.current(tx, merge.survivor_id), merge.survivor_id, merge.merged_id])
    by_id = {customer.customer_id: customer for customer in customers}
    survivor, merged = by_id[merge.survivor_id], by_id[merge.merged_id]
    MOVED.move_back(tx, merge.merge_id, merge.merged_id, merge.survivor_id)
    now = _plain({name: value_of(survivor, name) for name in merge.survivor_before})
    _set(tx, survivor, _rich(put_back(now, merge.survivor_before, merge.survivor_after)))
    _hold_values_again(tx, merged, merge.taken)
    _give_back(tx, merged, before)
    merge.state = MergeState.UNDOING
    merge.followed = []
    merge.undo_actor_id, merge.undo_time = caller.person_id, tx.now
    merge.version += 1
    note(
        tx,
        merge.survivor_id,
        "merge",
        merge_id,
        {"what": "merge_undone", "name": merge.merged_name},
        key="undo",
    )
    _begin(tx, merge)
    return merge


def get_merge(tx: Transaction, merge_id: str) -> Merge:
    """Return a merge; raises NotFound MERGE_NOT_FOUND."""
    merge = tx.session.get(Merge, (tx.tenant.id, merge_id))
    if merge is None:
        raise not_found("merge", "合并", merge_id)
    return merge


def list_merges(tx: Transaction, after: tuple[datetime, str] | None, limit: int) -> Sequence[Merge]:
    """Return merges, the newest first."""
    query = select(Merge).where(Merge.tenant_id == tx.tenant.id)
    if after:
        query = query.where(tuple_(Merge.create_time, Merge.merge_id) < after)
    return tx.session.scalars(
        query.order_by(Merge.create_time.desc(), Merge.merge_id.desc()).limit(limit)
    ).all()


def take_followed(tx: Transaction, merge_id: str, service: str, *, undo: bool) -> None:
    """Note that a service has moved its rows, or moved them back; the last one ends the merge."""
    merge = _locked(tx, merge_id)
    waiting = MergeState.UNDOING if undo else MergeState.RUNNING
    if merge.state != waiting or service in merge.followed:
        return
    merge.followed = sorted({*merge.followed, service})
    merge.version += 1
    if set(FOLLOWERS) <= set(merge.followed):
        merge.state = MergeState.UNDONE if undo else MergeState.MERGED
        tx.emit(
            "merge_ended",
            merge_id,
            merge.version,
            {
                "mergeId": merge_id,
                "survivorId": merge.survivor_id,
                "mergedId": merge.merged_id,
                "state": merge.state,
            },
        )
        tx.signal_workflow(
            WorkflowSignal(contracts.merge_workflow_id(_payload(tx, merge, undo=undo)), contracts.FOLLOWED)
        )


def ask_again(tx: Transaction, merge_id: str, *, undo: bool) -> bool:
    """Ask the services that have not followed yet once more; tell whether any is waited for."""
    merge = _locked(tx, merge_id)
    if merge.state != (MergeState.UNDOING if undo else MergeState.RUNNING):
        return False
    _ask(tx, merge)
    return True


def value_of(customer: Customer, name: str) -> Any:
    """Return a field by its name; the tenant's own as `custom.<key>`."""
    if name.startswith(CUSTOM):
        return customer.custom.get(name.removeprefix(CUSTOM))
    return getattr(customer, name)


def _set(tx: Transaction, customer: Customer, values: Mapping[str, Any]) -> None:
    own = dict(customer.custom)
    custom = {name.removeprefix(CUSTOM): value for name, value in values.items() if name.startswith(CUSTOM)}
    for name, value in values.items():
        if not name.startswith(CUSTOM):
            setattr(customer, name, value)
    if custom:
        kept = {key: value for key, value in (own | custom).items() if value is not None}
        customer.custom = kept
        hold_values(tx, FieldObject.CUSTOMER, customer.customer_id, kept, own)
    if "name" in values:
        for column, value in found_by(customer.name).items():
            setattr(customer, column, value)
    customer.version += 1
    Rules(tx).set_due(customer)
    tx.session.flush()
    tx.emit(
        "customer_changed",
        customer.customer_id,
        customer.version,
        {"customerId": customer.customer_id, "fields": sorted(values)},
    )


def _free_values(tx: Transaction, merged: Customer, taken: Sequence[str]) -> None:
    """Let go of the values that the survivor takes; the others stay held, for the undo."""
    left = {key: value for key, value in merged.custom.items() if f"{CUSTOM}{key}" not in taken}
    hold_values(tx, FieldObject.CUSTOMER, merged.customer_id, left, merged.custom)


def _hold_values_again(tx: Transaction, merged: Customer, taken: Sequence[str]) -> None:
    left = {key: value for key, value in merged.custom.items() if f"{CUSTOM}{key}" not in taken}
    hold_values(tx, FieldObject.CUSTOMER, merged.customer_id, merged.custom, left)


def _give_back(tx: Transaction, merged: Customer, before: Mapping[str, Any]) -> None:
    """Let the merged customer be there again: with its owner, else in its pool."""
    if before["owner_id"]:
        owner = Owner(before["owner_id"], before["owner_department_path"])
        change = Change(Cause.UNMERGE, owner, pool_id=before["pool_id"] or "", reason=UNDONE_REASON)
        result = change_owner(tx, [merged.customer_id], change, lambda _: None)[merged.customer_id]
        if not isinstance(result, AppError):
            result.own_time = _time(before["own_time"])
            Rules(tx).set_due(result)
            return
    pool_id = before["pool_id"] or tenant_settings(tx).default_pool_id
    change = Change(Cause.UNMERGE, None, pool_id=pool_id, reason=UNDONE_REASON)
    change_one(tx, merged.customer_id, change, lambda _: None)


def _begin(tx: Transaction, merge: Merge) -> None:
    tx.session.flush()
    _ask(tx, merge)
    payload = _payload(tx, merge, undo=merge.state == MergeState.UNDOING)
    tx.start_workflow(
        WorkflowStart(contracts.FOLLOW_MERGE, contracts.merge_workflow_id(payload), contracts.QUEUE, payload)
    )


def _payload(tx: Transaction, merge: Merge, *, undo: bool) -> contracts.FollowedMerge:
    return contracts.FollowedMerge(tx.tenant, merge.merge_id, undo)


def _ask(tx: Transaction, merge: Merge) -> None:
    tx.emit(
        "merge_asked",
        merge.merge_id,
        merge.version,
        {
            "mergeId": merge.merge_id,
            "survivorId": merge.survivor_id,
            "mergedId": merge.merged_id,
            "undo": merge.state == MergeState.UNDOING,
        },
    )


def _locked(tx: Transaction, merge_id: str) -> Merge:
    merge = tx.session.get(Merge, (tx.tenant.id, merge_id), with_for_update=True)
    if merge is None:
        raise not_found("merge", "合并", merge_id)
    return merge


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
    }


def _rich(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _time(value) if name in TIMES else value for name, value in values.items()}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
