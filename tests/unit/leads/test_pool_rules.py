"""The lead pool's rules: limits that can hold, and who may bring leads from outside."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.errors import AppError, InvalidInput, Quota
from services.kernel.ownership import ReclaimRule
from services.leads.domain.pool import (
    PoolRules,
    capture_signature,
    check_captures,
    check_pool_rules,
    check_signature,
)

NOW = datetime(2026, 11, 22, 4, 0, 15, tzinfo=UTC)
FIELDS = ("website", "42", "韩梅梅", "云海科技", "138-0013-8000", "")


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (PoolRules(owner_cap=-1), "settings.owner_cap"),
        (PoolRules(daily_claims=100_001), "settings.daily_claims"),
        (PoolRules(captures_per_minute=0), "settings.captures_per_minute"),
        (PoolRules(reclaim=ReclaimRule(1, 1)), "settings.idle_days"),
        (PoolRules(reclaim=ReclaimRule(30, 30)), "settings.warn_days"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused_with_its_field(rules: PoolRules, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_pool_rules(rules)
    assert refused.value.field == field


def test_zero_idle_days_never_take_a_lead_back() -> None:
    assert check_pool_rules(PoolRules(reclaim=ReclaimRule(0, 5))).reclaim == ReclaimRule(0, 0)


def test_captures_beyond_the_limit_wait_for_the_minutes_end() -> None:
    """F136."""
    check_captures(5, 5, NOW)
    with pytest.raises(Quota, match="CAPTURES_USED_UP") as refused:
        check_captures(6, 5, NOW)
    assert refused.value.retry_after_s == 45


def test_a_signature_is_the_one_that_the_contract_describes() -> None:
    """So that an outside source can be written from the contract alone."""
    assert capture_signature(b"key", 1, ("a", "b", "c", "", "", "")) == (
        # printf '1\na\nb\nc\n\n\n\n' | openssl dgst -sha256 -hmac key
        "08a6855f4c8223754ae279d7bf5c5b7ba01ecf68abd06adb584898c1accfb3c5"
    )


@pytest.mark.parametrize(
    ("changed", "late", "reason"),
    [
        (FIELDS, timedelta(minutes=5), ""),
        (FIELDS, timedelta(minutes=-5), ""),
        (FIELDS, timedelta(minutes=5, seconds=1), "SIGNATURE_EXPIRED"),
        (FIELDS, timedelta(minutes=-5, seconds=-1), "SIGNATURE_EXPIRED"),
        (("website", "43", *FIELDS[2:]), timedelta(), "SIGNATURE_INVALID"),
        (("website42", "", *FIELDS[2:]), timedelta(), "SIGNATURE_INVALID"),
    ],
)
def test_only_what_its_source_signed_just_now_comes_in(
    changed: tuple[str, ...], late: timedelta, reason: str
) -> None:
    """F136."""
    signed = int(NOW.timestamp())
    signature = capture_signature(b"secret", signed, FIELDS)
    with pytest.raises(AppError, match=reason) if reason else nullcontext():
        check_signature(b"secret", signed, changed, signature, NOW + late)
