"""Caps on how many customers somebody may own: made, looked at, and adjusted by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, InvalidInput, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.store.caps import Caps, Holder, caps, kernel_cap
from services.customers.store.ledger import lock_owner
from services.customers.store.rules import forget_pools, tenant_settings
from services.customers.store.tables import CapChange, Customer, OwnerCap, Staff
from services.kernel.china_time import day_start
from services.kernel.ownership import MOST_LOCKS, adjusted_limit

# Changes in one answer.
MOST_CHANGES = 200


@dataclass(frozen=True)
class CapDraft:
    """A cap as somebody wants it; adjustment: {} for a fixed one. See the table."""

    name: str
    person_ids: tuple[str, ...]
    department_ids: tuple[str, ...]
    regions: tuple[str, ...]
    levels: tuple[str, ...]
    most: int
    without_contracted: bool
    without_business_types: tuple[str, ...]
    adjustment: dict[str, Any]


@dataclass(frozen=True)
class CapUse:
    """A cap and how much of it is used. cap_id, name: "" for the tenant's own."""

    cap_id: str
    name: str
    used: int
    most: int


@dataclass(frozen=True)
class Capacity:
    """What somebody owns and locks, and may."""

    caps: Sequence[CapUse]
    locked: int
    lock_cap: int


def list_caps(tx: Transaction) -> list[OwnerCap]:
    """Return the caps: those of people first, then of departments, then everybody's."""
    return sorted(caps(tx), key=lambda row: (not row.person_ids, not row.department_ids, row.name))


def save_cap(tx: Transaction, cap_id: str, version: int, draft: CapDraft) -> OwnerCap:
    """Make a cap, or change the one that was read at `version` (F27, F30).

    Raises NotFound CAP_NOT_FOUND, Conflict CAP_CHANGED, AlreadyExists CAP_NAME_TAKEN.
    """
    taken = tx.session.scalar(
        select(OwnerCap.cap_id).where(OwnerCap.tenant_id == tx.tenant.id, OwnerCap.name == draft.name)
    )
    if taken and taken != cap_id:
        raise AlreadyExists(
            "CAP_NAME_TAKEN", "已有名为“{name}”的上限", "There is a cap named {name} already", name=draft.name
        )
    row = _locked(tx, cap_id) if cap_id else OwnerCap(tenant_id=tx.tenant.id, cap_id=new_id(), version=0)
    if row.version != version and cap_id:
        raise Conflict("CAP_CHANGED", "上限已被他人修改，请刷新后重试", "The cap was changed; read it anew")
    row.name, row.most = draft.name, draft.most
    row.person_ids, row.department_ids = list(draft.person_ids), list(draft.department_ids)
    row.regions, row.levels = list(draft.regions), list(draft.levels)
    row.without_contracted = draft.without_contracted
    row.without_business_types = list(draft.without_business_types)
    row.adjustment = draft.adjustment
    row.version += 1
    tx.session.add(row)
    tx.session.flush()
    forget_pools(tx)
    return row


def delete_cap(tx: Transaction, cap_id: str) -> None:
    """Remove a cap; its log stays. Raises NotFound CAP_NOT_FOUND."""
    tx.session.delete(_locked(tx, cap_id))


def capacity(tx: Transaction, caller: Caller) -> Capacity:
    """Return the caps on the caller with what is used of each."""
    held = Caps(tx, Holder(caller.person_id, caller.department_path))
    locked = tx.session.scalar(
        select(func.count()).where(
            Customer.tenant_id == tx.tenant.id,
            Customer.owner_id == caller.person_id,
            Customer.lock_expire_time > tx.now,
        )
    )
    return Capacity(
        [CapUse(cap.id, held.name(cap), held.used(cap), cap.limit) for cap in held.holding()],
        locked or 0,
        tenant_settings(tx).lock_cap or MOST_LOCKS,
    )


def list_cap_changes(tx: Transaction, cap_id: str) -> Sequence[CapChange]:
    """Return automatic changes of a cap, "" for all, newest first (F31)."""
    query = select(CapChange).where(CapChange.tenant_id == tx.tenant.id)
    if cap_id:
        query = query.where(CapChange.cap_id == cap_id)
    return tx.session.scalars(query.order_by(CapChange.sequence.desc()).limit(MOST_CHANGES)).all()


def adjust_caps(tx: Transaction, limit: int) -> int:
    """Adjust up to `limit` people's caps by the rules on them, once a day (F31); return how many were looked at.

    The first look of a day in China writes a row for everybody the cap holds for, changed or not: it says that this day
    was looked at, and on what. Few at a time: until the commit nobody of them can gain a customer.
    """
    adjusting = [row for row in caps(tx) if row.adjustment]
    if not adjusting:
        return 0
    looked_at = {
        tuple(pair)
        for pair in tx.session.execute(
            select(CapChange.cap_id, CapChange.person_id).where(
                CapChange.tenant_id == tx.tenant.id, CapChange.create_time >= day_start(tx.now)
            )
        )
    }
    staff = tx.session.scalars(
        select(Staff).where(Staff.tenant_id == tx.tenant.id, Staff.active).order_by(Staff.person_id)
    ).all()
    due = [
        (row, person.person_id)
        for person in staff
        for row in adjusting
        if (row.cap_id, person.person_id) not in looked_at
        and kernel_cap(row).holds_for(person.person_id, person.department_path)
    ][:limit]
    for row, person_id in due:
        _adjust(tx, row, person_id)
    return len(due)


def _adjust(tx: Transaction, row: OwnerCap, person_id: str) -> None:
    lock_owner(tx, person_id)
    last = tx.session.scalars(
        select(CapChange)
        .where(
            CapChange.tenant_id == tx.tenant.id,
            CapChange.person_id == person_id,
            CapChange.cap_id == row.cap_id,
        )
        .order_by(CapChange.sequence.desc())
        .limit(1)
    ).first()
    if last and last.create_time >= day_start(tx.now):
        # Another sweep came first.
        return
    rule = row.adjustment
    since = tx.now - timedelta(days=rule["window_days"])
    owned, contracted = tx.session.execute(
        select(func.count(), func.count().filter(Customer.last_contract_time >= since)).where(
            Customer.tenant_id == tx.tenant.id, Customer.owner_id == person_id
        )
    ).one()
    before = last.to_most if last else row.most
    after = adjusted_limit(
        before,
        owned,
        contracted,
        share_percent=rule["share_percent"],
        step=rule["step"],
        least=rule["least"],
        most=rule["most"],
    )
    tx.session.add(
        CapChange(
            tenant_id=tx.tenant.id,
            change_id=new_id(),
            cap_id=row.cap_id,
            person_id=person_id,
            from_most=before,
            to_most=after,
            owned=owned,
            contracted=contracted,
            create_time=tx.now,
        )
    )
    tx.session.flush()


def _locked(tx: Transaction, cap_id: str) -> OwnerCap:
    row = tx.session.get(OwnerCap, (tx.tenant.id, cap_id), with_for_update=True)
    if row is None:
        raise not_found("cap", "上限", cap_id)
    return row


def check_adjustment(adjustment: dict[str, int]) -> dict[str, int]:
    """Return how a cap changes by itself; raises InvalidInput ADJUSTMENT_OUT_OF_RANGE naming the field."""
    if not adjustment["window_days"]:
        return {}
    bounds = {
        "window_days": (1, 366),
        "share_percent": (0, 100),
        "step": (1, 1_000_000),
        "least": (1, 1_000_000),
        "most": (adjustment["least"], 1_000_000),
    }
    for name, (least, most) in bounds.items():
        if not least <= adjustment[name] <= most:
            raise InvalidInput(
                f"cap.adjustment.{name}",
                "ADJUSTMENT_OUT_OF_RANGE",
                "{name} 应为 {least} 到 {most}",
                "{name} is {least} to {most}",
                name=name,
                least=least,
                most=most,
            )
    return adjustment
