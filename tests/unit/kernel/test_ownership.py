"""Rules of owning: when neglect loses a record, and what caps and quotas refuse."""

from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.errors import InvalidInput, Quota, RuleViolation
from services.kernel.ownership import (
    DEFAULT_RULE,
    MOST_LOCKS,
    PoolScope,
    ReclaimRule,
    call_is_evidence,
    check_cap,
    check_daily_claims,
    check_lock,
    check_rule,
    due,
    reclaim_after_warning,
)

GAINED = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_by_default_day_89_is_warned_of_and_day_90_loses() -> None:
    """F17."""
    times = due(DEFAULT_RULE, GAINED, None)
    assert times
    assert times.warn == GAINED + timedelta(days=89)
    assert times.reclaim == GAINED + timedelta(days=90)


def test_the_clock_starts_when_the_owner_gains_the_record() -> None:
    """O13: evidence from before a claim does not count against the claimer."""
    assert due(DEFAULT_RULE, GAINED, GAINED - timedelta(days=400)) == due(DEFAULT_RULE, GAINED, None)


def test_evidence_restarts_the_clock() -> None:
    later = GAINED + timedelta(days=50)
    assert due(DEFAULT_RULE, GAINED, later) == due(DEFAULT_RULE, later, None)


def test_a_rule_of_zero_days_is_off() -> None:
    assert due(ReclaimRule(0, 0), GAINED, None) is None


def test_a_late_warning_moves_the_reclaim_by_a_day() -> None:
    """An outage over the day of the warning."""
    reclaim = GAINED + timedelta(days=90)
    late = reclaim + timedelta(days=5)
    assert reclaim_after_warning(reclaim, reclaim - timedelta(days=3)) == reclaim
    assert reclaim_after_warning(reclaim, late) == late + timedelta(days=1)


@pytest.mark.parametrize(
    ("idle_days", "warn_days", "field"),
    [
        (1, 1, "rule.idle_days"),
        (-1, 1, "rule.idle_days"),
        (4000, 1, "rule.idle_days"),
        (90, 0, "rule.warn_days"),
        (90, 90, "rule.warn_days"),
        (90, -1, "rule.warn_days"),
    ],
)
def test_a_rule_out_of_range_names_its_field(idle_days: int, warn_days: int, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_rule(ReclaimRule(idle_days, warn_days), "rule")
    assert (refused.value.field, refused.value.reason) == (field, "RULE_OUT_OF_RANGE")


def test_a_cap_says_how_many_are_used() -> None:
    """F28."""
    check_cap(4, 5)
    check_cap(5, 0)
    with pytest.raises(RuleViolation) as refused:
        check_cap(5, 5)
    assert refused.value.reason == "OWNER_CAP_REACHED"
    assert refused.value.metadata == {"used": "5", "limit": "5"}


def test_used_up_claims_come_back_with_the_next_day_in_china() -> None:
    """F21."""
    evening = datetime(2026, 3, 1, 15, 59, 0, tzinfo=UTC)
    check_daily_claims(2, 3, evening)
    check_daily_claims(100, 0, evening)
    with pytest.raises(Quota) as refused:
        check_daily_claims(3, 3, evening)
    assert refused.value.reason == "DAILY_CLAIMS_USED_UP"
    assert refused.value.retry_after_s == 61


@pytest.mark.parametrize(
    ("answered", "talk_s", "evidence"), [(True, 15, True), (True, 14, False), (False, 90, False)]
)
def test_only_a_connected_call_of_15_seconds_is_evidence(answered: bool, talk_s: int, evidence: bool) -> None:
    """O10."""
    assert call_is_evidence(answered, talk_s) is evidence


@pytest.mark.parametrize(
    ("departments", "path", "member"),
    [([], "", True), (["b"], "a/b/c/", True), (["c"], "a/b/", False), (["x", "a"], "a/", True)],
)
def test_a_pool_belongs_to_its_departments_and_those_below(
    departments: list[str], path: str, member: bool
) -> None:
    """F26."""
    assert PoolScope(frozenset(departments)).admits("ada", path) is member


def test_a_pool_belongs_to_whom_it_names_in_any_way() -> None:
    """F26."""
    scope = PoolScope(person_ids=frozenset({"ada"}), roles=frozenset({"rep"}), region_ids=frozenset({"east"}))
    assert scope.admits("ada", "a/")
    assert scope.admits("bob", "a/", roles=["rep"])
    assert scope.admits("bob", "a/", region_ids=["east"])
    assert not scope.admits("bob", "a/", roles=["boss"], region_ids=["west"])


def test_a_lock_has_an_expiry_and_a_cap() -> None:
    """O12."""
    assert check_lock(0, 0) == timedelta(days=30)
    assert check_lock(90, MOST_LOCKS - 1) == timedelta(days=90)
    with pytest.raises(InvalidInput, match="LOCK_DAYS_OUT_OF_RANGE"):
        check_lock(91, 0)
    with pytest.raises(InvalidInput, match="LOCK_DAYS_OUT_OF_RANGE"):
        check_lock(-1, 0)
    with pytest.raises(RuleViolation, match="LOCK_CAP_REACHED"):
        check_lock(1, MOST_LOCKS)
