"""Who belongs to a pool, and what a pool shows."""

from collections.abc import Collection
from dataclasses import dataclass

from services.customers.domain.customers import is_member

# What a pool may hide of its customers.
HIDEABLE = ("address", "business_type", "contacts", "level", "phones", "region")


@dataclass(frozen=True)
class PoolScope:
    """Whose pool it is: people of departments, single people, holders of roles, people of regions (F26)."""

    department_ids: frozenset[str]
    person_ids: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    region_ids: frozenset[str] = frozenset()

    def admits(
        self, person_id: str, department_path: str, roles: Collection[str], region_ids: Collection[str]
    ) -> bool:
        """Tell whether somebody is a member; where nothing is named, everybody is."""
        if not (self.department_ids or self.person_ids or self.roles or self.region_ids):
            return True
        return (
            person_id in self.person_ids
            or not self.roles.isdisjoint(roles)
            or not self.region_ids.isdisjoint(region_ids)
            or (bool(self.department_ids) and is_member(list(self.department_ids), department_path))
        )
