"""Which cap holds for a gain, and how much of it is used; the caller holds the owner's lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Any

from sqlalchemy import ScalarSelect, and_, func, or_, select

from services.chassis.db import Transaction
from services.customers.domain.customers import CustomerState
from services.customers.store.rules import tenant_settings
from services.customers.store.tables import CapChange, Customer, OwnerCap
from services.kernel.ownership import Cap, check_cap, winning_cap

# The id under which the tenant's own cap stands: about everybody and everything.
TENANT_CAP = ""


def caps(tx: Transaction) -> Sequence[OwnerCap]:
    """Return the tenant's caps by name."""
    return tx.session.scalars(
        select(OwnerCap).where(OwnerCap.tenant_id == tx.tenant.id).order_by(OwnerCap.name)
    ).all()


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


class Caps:
    """The caps of one person, as far as they are used."""

    def __init__(self, tx: Transaction, holder: Holder) -> None:
        self._tx = tx
        self._holder = holder
        self._rows = {row.cap_id: row for row in caps(tx)}
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
            self._used[cap.id] = self._tx.session.scalar(select(self._count(cap))) or 0
        return self._used[cap.id]

    def uncounted(self) -> dict[str, ScalarSelect[int]]:
        """Return by id what counts under each cap on the person that limits anything and was not counted yet."""
        return {cap.id: self._count(cap) for cap in self.holding() if cap.limit and cap.id not in self._used}

    def know(self, used: Mapping[str, int]) -> None:
        """Take what was counted of `uncounted`."""
        self._used |= used

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

    def _count(self, cap: Cap) -> ScalarSelect[int]:
        waiting = and_(
            Customer.submitter_id == self._holder.person_id,
            Customer.state == CustomerState.PENDING,
            Customer.customer_id.not_in(self._holder.passing),
        )
        conditions = [
            Customer.tenant_id == self._tx.tenant.id,
            or_(Customer.owner_id == self._holder.person_id, waiting),
        ]
        if cap.regions:
            conditions.append(Customer.region.in_(cap.regions))
        if cap.levels:
            conditions.append(Customer.level.in_(cap.levels))
        row = self._rows.get(cap.id)
        if row and row.without_business_types:
            conditions.append(Customer.business_type.not_in(row.without_business_types))
        if row and row.without_contracted:
            conditions.append(Customer.last_contract_time.is_(None))
        return select(func.count()).where(*conditions).scalar_subquery()

    def _adjusted(self) -> dict[str, int]:
        own = (CapChange.tenant_id == self._tx.tenant.id, CapChange.person_id == self._holder.person_id)
        last = select(func.max(CapChange.sequence)).where(*own).group_by(CapChange.cap_id)
        rows = self._tx.session.execute(
            select(CapChange.cap_id, CapChange.to_most).where(*own, CapChange.sequence.in_(last))
        )
        adjusting = {row.cap_id for row in self._rows.values() if row.adjustment}
        return {row.cap_id: row.to_most for row in rows if row.cap_id in adjusting}
