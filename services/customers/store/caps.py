"""Which cap holds for a gain, and how much of it is used; the caller holds the owner's lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    ScalarSelect,
    Text,
    all_,
    any_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from services.chassis.db import Transaction
from services.customers.domain.customers import CustomerState
from services.customers.store.rules import may_have_caps, tenant_settings
from services.customers.store.tables import CapChange, Customer, OwnerCap, RecordId
from services.kernel.ownership import Cap, check_cap, winning_cap

# The id under which the tenant's own cap stands: about everybody and everything.
TENANT_CAP = ""


_CAPS = select(OwnerCap).where(OwnerCap.tenant_id == bindparam("tenant_id")).order_by(OwnerCap.name)


def caps(tx: Transaction) -> Sequence[OwnerCap]:
    """Return the tenant's caps by name."""
    return tx.session.scalars(_CAPS, {"tenant_id": tx.tenant.id}).all()


def kernel_cap(row: OwnerCap) -> Cap:
    """Return a cap as its rules know it."""
    return Cap(
        row.cap_id,
        row.most,
        tuple(row.person_ids),
        tuple(row.department_ids),
        tuple(row.regions),
        tuple(row.levels),
    )


@dataclass(frozen=True)
class Holder:
    """Whose customers are counted. passing: registrations that become customers, counted as such only."""

    person_id: str
    department_path: str
    passing: tuple[str, ...] = ()


def _count(*whose: ColumnElement[bool]) -> ScalarSelect[int]:
    regions, levels = (bindparam(name, type_=ARRAY(Text)) for name in ("regions", "levels"))
    without_types = bindparam("without_types", type_=ARRAY(Text))
    return (
        select(func.count())
        .where(
            Customer.tenant_id == bindparam("tenant_id"),
            *whose,
            or_(func.cardinality(regions) == 0, Customer.region == any_(regions)),
            or_(func.cardinality(levels) == 0, Customer.level == any_(levels)),
            or_(func.cardinality(without_types) == 0, Customer.business_type != all_(without_types)),
            or_(~bindparam("without_contracted", type_=Boolean), Customer.last_contract_time.is_(None)),
        )
        .scalar_subquery()
    )


# What counts under a cap, by `Caps.counting`: owned customers, and registrations that wait. Each is found by an index
# of its own, the state a literal for its sake; with OR between them neither was used once many customers are owned.
COUNTED: ColumnElement[int] = _count(Customer.owner_id == bindparam("person_id")) + _count(
    Customer.submitter_id == bindparam("person_id"),
    Customer.state == literal_column(f"'{CustomerState.PENDING.value}'"),
    Customer.customer_id != all_(bindparam("passing", type_=ARRAY(RecordId))),
)


class Caps:
    """The caps of one person, as far as they are used."""

    def __init__(self, tx: Transaction, holder: Holder) -> None:
        self._tx = tx
        self._holder = holder
        self._rows = {row.cap_id: row for row in caps(tx)} if may_have_caps(tx) else {}
        adjusted = self._adjusted() if any(row.adjustment for row in self._rows.values()) else {}
        self._caps = [
            with_(kernel_cap(row), limit=adjusted.get(row.cap_id, row.most)) for row in self._rows.values()
        ]
        # The last: it holds where no other does.
        self._caps.append(Cap(TENANT_CAP, tenant_settings(tx).owner_cap))
        self._used: dict[str, int] = {}

    def winning(self, region: str, level: str) -> Cap:
        """Return the cap on a gain of such a customer; the tenant's own holds where no other does."""
        won = winning_cap(
            self._caps[:-1], self._holder.person_id, self._holder.department_path, region, level
        )
        return won or self._caps[-1]

    def holding(self) -> list[Cap]:
        """Return every cap on the person, most specific first."""
        person_id, path = self._holder.person_id, self._holder.department_path
        held = [cap for cap in self._caps[:-1] if cap.holds_for(person_id, path)]
        return [*sorted(held, key=lambda cap: cap.rank(person_id, path)), self._caps[-1]]

    def name(self, cap: Cap) -> str:
        """Return a cap's name, "" for the tenant's own."""
        return self._rows[cap.id].name if cap.id else ""

    def check(self, region: str, level: str) -> dict[str, Any]:
        """Return what a gain of such a customer is decided on; raises OWNER_CAP_REACHED when it does not fit."""
        cap = self.winning(region, level)
        if not cap.limit:
            return {}
        used = self.used(cap)
        check_cap(used, cap.limit)
        return {"used": used, "limit": cap.limit} | ({"cap_id": cap.id} if cap.id else {})

    def used(self, cap: Cap) -> int:
        """Return how many customers count; a registration that waits takes its place already."""
        if cap.id not in self._used:
            self.know(cap, self._tx.session.scalar(select(COUNTED), self.counting(cap)) or 0)
        return self._used[cap.id]

    def knows(self, cap: Cap) -> bool:
        """Tell whether somebody has counted already what is under a cap."""
        return cap.id in self._used

    def know(self, cap: Cap, used: int) -> None:
        """Take what `COUNTED` says of a cap."""
        self._used[cap.id] = used

    def counting(self, cap: Cap) -> dict[str, object]:
        """Return the parameters of `COUNTED` for a cap."""
        row = self._rows.get(cap.id)
        return {
            "tenant_id": self._tx.tenant.id,
            "person_id": self._holder.person_id,
            "passing": list(self._holder.passing),
            "regions": list(cap.regions),
            "levels": list(cap.levels),
            "without_types": row.without_business_types if row else [],
            "without_contracted": bool(row and row.without_contracted),
        }

    def take(self, customer: Customer) -> None:
        """Count a customer that was gained, under every cap that was counted."""
        for cap in self._caps:
            if cap.id in self._used and self._counts(cap, customer):
                self._used[cap.id] += 1

    def _counts(self, cap: Cap, customer: Customer) -> bool:
        if not cap.is_about(customer.region, customer.level):
            return False
        row = self._rows.get(cap.id)
        if row is None:
            return True
        return customer.business_type not in row.without_business_types and not (
            row.without_contracted and customer.last_contract_time
        )

    def _adjusted(self) -> dict[str, int]:
        own = (CapChange.tenant_id == self._tx.tenant.id, CapChange.person_id == self._holder.person_id)
        last = select(func.max(CapChange.sequence)).where(*own).group_by(CapChange.cap_id)
        rows = self._tx.session.execute(
            select(CapChange.cap_id, CapChange.to_most).where(*own, CapChange.sequence.in_(last))
        )
        adjusting = {row.cap_id for row in self._rows.values() if row.adjustment}
        return {row.cap_id: row.to_most for row in rows if row.cap_id in adjusting}
