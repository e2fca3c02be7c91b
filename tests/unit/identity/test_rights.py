"""What roles give, who may grant what, when an account is locked."""

from datetime import UTC, datetime

import pytest
from crm.options.v1 import options_pb2
from google.protobuf import descriptor_pool

from services.chassis.errors import Forbidden
from services.gateway.routes import CONTRACTS
from services.identity.domain.people import FAILURES_TO_LOCK, LOCK, lock_after_failure
from services.identity.domain.rights import (
    ALL_RIGHTS,
    PRESET_ROLES,
    Grant,
    Role,
    Scope,
    check_may_grant,
    together,
)


def test_the_list_of_rights_is_what_the_contracts_ask_for() -> None:
    """F235: a right that no role could give, or that nothing asks for, is a mistake."""
    pool = descriptor_pool.Default()
    asked = {
        method.GetOptions().Extensions[options_pb2.access].right
        for modules in CONTRACTS.values()
        for module in modules
        for service in pool.FindFileByName(module.DESCRIPTOR.name).services_by_name.values()
        for method in service.methods
    }
    assert asked - {""} == ALL_RIGHTS - {"numbers.view_all"}


def test_presets_give_only_known_rights() -> None:
    assert all(role.rights <= ALL_RIGHTS for role in PRESET_ROLES)
    assert len({role.code for role in PRESET_ROLES}) == len(PRESET_ROLES)


def test_roles_together_give_all_rights_and_the_widest_scope() -> None:
    narrow = Role("a", "甲", Scope.SELF, frozenset({"x"}))
    wide = Role("b", "乙", Scope.DEPARTMENT, frozenset({"y"}))
    assert together([wide, narrow]) == Grant(frozenset({"x", "y"}), Scope.DEPARTMENT)
    assert together([]) == Grant(frozenset(), Scope.SELF)


def test_a_wider_scope_is_beyond_a_narrower_one() -> None:
    granter = Grant(frozenset({"x"}), Scope.DEPARTMENT)
    check_may_grant(granter, Grant(frozenset({"x"}), Scope.DEPARTMENT))
    for granted in (Grant(frozenset({"x"}), Scope.ALL), Grant(frozenset({"y"}), Scope.SELF)):
        with pytest.raises(Forbidden, match="RIGHTS_BEYOND_OWN"):
            check_may_grant(granter, granted)


def test_the_last_failure_locks_and_starts_the_count_anew() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert lock_after_failure(0, now) == (1, None)
    assert lock_after_failure(FAILURES_TO_LOCK - 1, now) == (0, now + LOCK)
