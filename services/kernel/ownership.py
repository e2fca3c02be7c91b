"""Rules of owning, without data: caps, quotas, locks, and when neglect loses a record to its pool."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.chassis.errors import InvalidInput, Quota, RuleViolation
from services.kernel.china_time import day_start

# Records in one claim (F21).
MOST_CLAIMS = 10
# Days a lock holds: when nothing is said, and at most.
LOCK_DAYS = 30
LONGEST_LOCK_DAYS = 90
# Records that a person may keep locked at a time (O12).
MOST_LOCKS = 20
# Between the warning and the reclaim lies at least this, whatever was down meanwhile.
SHORTEST_WARNING = timedelta(days=1)
# A connected call of at least this many seconds shows that somebody works on the customer (O10).
EVIDENCE_TALK_S = 15
# Ten years: longest time a rule may wait.
LONGEST_IDLE_DAYS = 3650


@dataclass(frozen=True)
class ReclaimRule:
    """After `idle_days` without evidence the owner loses the record, warned `warn_days` before; 0 days: never."""

    idle_days: int
    warn_days: int


# Ninety days without a sales record (F17).
DEFAULT_RULE = ReclaimRule(idle_days=90, warn_days=1)


@dataclass(frozen=True)
class Due:
    """When the owner is warned, and when the record is taken back, if nothing happens until then."""

    warn: datetime
    reclaim: datetime


def check_rule(rule: ReclaimRule, field: str) -> ReclaimRule:
    """Return a rule that can hold; raises InvalidInput RULE_OUT_OF_RANGE naming the field."""
    if rule.idle_days == 0:
        return ReclaimRule(0, 0)
    if not 1 < rule.idle_days <= LONGEST_IDLE_DAYS:
        raise InvalidInput(
            f"{field}.idle_days",
            "RULE_OUT_OF_RANGE",
            "回收天数应为 2 到 {most}，或为 0（不回收）",
            "idle_days is 2 to {most}, or 0 for never",
            most=LONGEST_IDLE_DAYS,
        )
    if not 1 <= rule.warn_days < rule.idle_days:
        raise InvalidInput(
            f"{field}.warn_days",
            "RULE_OUT_OF_RANGE",
            "提前提醒天数应至少为 1，且小于回收天数",
            "warn_days is at least 1 and less than idle_days",
        )
    return rule


def due(rule: ReclaimRule, own_time: datetime, last_evidence_time: datetime | None) -> Due | None:
    """Return when a record is due; None where the rule is off.

    The clock starts when the owner gains the record, so that one never followed up is not lost at once (O13).
    """
    if not rule.idle_days:
        return None
    start = max(own_time, last_evidence_time or own_time)
    reclaim = start + timedelta(days=rule.idle_days)
    return Due(warn=reclaim - timedelta(days=rule.warn_days), reclaim=reclaim)


def reclaim_after_warning(reclaim: datetime, warned: datetime) -> datetime:
    """Return when a record falls whose owner was warned only now: never less than a day later."""
    return max(reclaim, warned + SHORTEST_WARNING)


def call_is_evidence(answered: bool, talk_s: float) -> bool:
    """Tell whether a call shows work on the customer (O10)."""
    return answered and talk_s >= EVIDENCE_TALK_S


def check_cap(used: int, limit: int) -> None:
    """Raise RuleViolation OWNER_CAP_REACHED when no further record fits (F27 to F29); limit 0: no limit."""
    if limit and used >= limit:
        raise RuleViolation(
            "OWNER_CAP_REACHED",
            "保有量已满（{used}/{limit}）",
            "You own as many as you may ({used}/{limit})",
            used=used,
            limit=limit,
        )


def check_daily_claims(used: int, limit: int, now: datetime) -> None:
    """Raise Quota DAILY_CLAIMS_USED_UP until the day ends in China (F21, O6); limit 0: no limit."""
    if limit and used >= limit:
        tomorrow = day_start(now) + timedelta(days=1)
        raise Quota(
            "DAILY_CLAIMS_USED_UP",
            "今日领取次数已用完（{used}/{limit}）",
            "You have claimed as many today as you may ({used}/{limit})",
            retry_after_s=int((tomorrow - now).total_seconds()) + 1,
            used=used,
            limit=limit,
        )


def check_lock(days: int, locked: int) -> timedelta:
    """Return how long a lock of `days` holds, 0 for the usual; `locked`: other records the person keeps locked.

    Raises InvalidInput LOCK_DAYS_OUT_OF_RANGE and RuleViolation LOCK_CAP_REACHED (O12).
    """
    if not 0 <= days <= LONGEST_LOCK_DAYS:
        raise InvalidInput(
            "days",
            "LOCK_DAYS_OUT_OF_RANGE",
            "锁定天数应为 1 到 {most}",
            "days is 1 to {most}",
            most=LONGEST_LOCK_DAYS,
        )
    if locked >= MOST_LOCKS:
        raise RuleViolation(
            "LOCK_CAP_REACHED",
            "最多锁定{limit}条",
            "You may keep at most {limit} locked",
            limit=MOST_LOCKS,
        )
    return timedelta(days=days or LOCK_DAYS)
