"""What roles give, who may grant what, when an account is locked."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.chassis.errors import Forbidden, InvalidInput
from services.identity.domain.people import FAILURES_TO_LOCK, LOCK, check_password, lock_after_failure
from services.identity.domain.rights import (
    ALL_RIGHTS,
    PRESET_ROLES,
    Grant,
    Right,
    Role,
    Scope,
    catalogue,
    check_may_grant,
    minimal_paths,
    together,
)

CONTRACTS = Path(__file__).parents[3] / "proto" / "crm"


def test_the_catalogue_holds_what_the_contracts_ask_for_and_names_it_in_two_languages() -> None:
    """F235, F236: a right that no role could give, or without a name to choose it by, is a mistake."""
    asked = {
        right
        for contract in CONTRACTS.rglob("*.proto")
        for right in re.findall(r'right: "([a-z_.]+)"', contract.read_text())
    }
    modules = catalogue()
    listed = [right for module in modules for right in module.rights]
    assert {right.right for right in listed} == asked | {"numbers.view_all"}
    assert len(listed) == len(ALL_RIGHTS)
    names = {module.module: module.zh for module in modules} | {right.right: right.zh for right in listed}
    unnamed = [name for name, zh in names.items() if zh.isascii()]
    assert unnamed == [], "they have no Chinese name in domain/rights.py"
    customers = next(module for module in modules if module.module == "customers")
    assert customers.rights[0] == Right("customers.view", is_entry=True, zh="查看", en="view")


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


def test_scopes_that_the_widest_does_not_cover_count_beside_it() -> None:
    heads = Role("heads", "甲", Scope.SUBORDINATES, frozenset())
    near = Role("near", "乙", Scope.DEPARTMENT_ONLY, frozenset())
    both = together([heads, near])
    assert both.scopes == {Scope.SUBORDINATES, Scope.DEPARTMENT_ONLY}
    assert together([heads, Role("all", "丙", Scope.ALL, frozenset())]).scopes == {Scope.ALL}
    with pytest.raises(Forbidden, match="subordinates"):
        check_may_grant(Grant(frozenset(), Scope.DEPARTMENT), both)


def test_a_path_below_another_adds_nothing() -> None:
    assert minimal_paths(["a/c/", "b/", "a/", "a/c/d/", "ab/"]) == ("a/", "ab/", "b/")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "PASSWORD_LENGTH"),
        ("x" * 201, "PASSWORD_LENGTH"),
        ("aaaaaaaaaaab", "PASSWORD_COMMON"),
        ("my-12345678-x", "PASSWORD_COMMON"),
        ("Password123!", "PASSWORD_COMMON"),
        ("zhangwei-2026", "PASSWORD_HAS_LOGIN"),
    ],
)
def test_a_password_that_is_guessed_first_is_refused(password: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        check_password(password, "password", login="ZhangWei")


def test_a_long_sentence_is_a_password() -> None:
    check_password("correct horse battery", "password", login="zhangwei")
    check_password("春眠不觉晓处处闻啼鸟", "password", login="li")


def test_the_last_failure_locks_and_starts_the_count_anew() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert lock_after_failure(0, now) == (1, None)
    assert lock_after_failure(FAILURES_TO_LOCK - 1, now) == (0, now + LOCK)
