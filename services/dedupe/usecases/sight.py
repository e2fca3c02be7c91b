"""Who may know which customer it is that a check, a look-up or a scan found; others get a masked name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.tokens import Caller
from services.dedupe.matching.normalise import LEGAL_FORMS
from services.dedupe.store.index import Compared
from services.dedupe.store.tables import MatchRecord, Staff
from services.kernel.visibility import covers, sees_all, sees_only_own


@dataclass(frozen=True)
class Sight:
    """What somebody may know. departments: the path of each owner's department, as far as it matters."""

    caller: Caller
    departments: Mapping[str, str]

    def covers(self, row: Compared | MatchRecord) -> bool:
        """Tell whether the caller sees this customer, as customers would say."""
        if self.caller.service:
            return True
        return covers(self.caller, row.owner_id, self.departments.get(row.owner_id or "", ""))

    def name(self, row: Compared | MatchRecord) -> str:
        """Return the customer's name as the caller may read it."""
        return row.name if self.covers(row) else mask_company(row.name)


def sight_of(tx: Transaction, caller: Caller, rows: Iterable[Compared | MatchRecord]) -> Sight:
    """Return what somebody may know of these customers."""
    owners = {row.owner_id for row in rows if row.owner_id}
    # The rule first: an answer that finds nobody like it may tell of a key that is held.
    if caller.service or sees_all(caller) or sees_only_own(caller) or not owners:
        return Sight(caller, {})
    found = tx.session.execute(
        select(Staff.person_id, Staff.department_path).where(
            Staff.tenant_id == tx.tenant.id, Staff.person_id.in_(owners)
        )
    )
    return Sight(caller, {row.person_id: row.department_path for row in found})


def save_person(tx: Transaction, person_id: str, department_path: str, version: int) -> None:
    """Keep where somebody works; an older word is ignored."""
    added = insert(Staff).values(
        tenant_id=tx.tenant.id, person_id=person_id, department_path=department_path, version=version
    )
    tx.session.execute(
        added.on_conflict_do_update(
            index_elements=[Staff.tenant_id, Staff.person_id],
            set_={"department_path": department_path, "version": version},
            where=Staff.version < version,
        )
    )


def mask_company(name: str) -> str:
    """Return a company name for those who may not know which it is: its beginning and its legal form (F164)."""
    form = next((form for form in LEGAL_FORMS if name.endswith(form) and len(name) > len(form) + 2), "")
    return f"{name[:2]}****{form}"
