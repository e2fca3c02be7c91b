"""The lead pool's rules: what a tenant may set, why an owner comes or goes, who captures from outside (F115, F136)."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from services.chassis.errors import Forbidden, InvalidInput, Quota, Unauthenticated
from services.chassis.ids import parse_id
from services.kernel.ownership import DEFAULT_RULE, PoolScope, ReclaimRule, check_rule
from services.kernel.texts import parse_text

# Most leads that a rule may allow, and captures a minute.
LARGEST_LIMIT = 100_000
MOST_CAPTURES = 6000
DEFAULT_CAPTURES = 600
# Departments, people, roles, and regions, that a pool may name as its members.
MOST_MEMBERS = 200
# Characters of a role's code.
LONGEST_ROLE = 100
# A signature is good for this long before and after its time.
SIGNATURE_LIFE = timedelta(minutes=5)


class Cause(StrEnum):
    """Why a lead's owner changed."""

    CREATE = "create"
    ASSIGN = "assign"
    CLAIM = "claim"
    RETURN = "return"
    RECLAIM = "reclaim"
    RESTORE = "restore"
    PUSH = "push"


@dataclass(frozen=True)
class PoolRules:
    """What a tenant set for its lead pool. owner_cap, daily_claims: 0 for no limit."""

    owner_cap: int = 0
    daily_claims: int = 0
    reclaim: ReclaimRule = DEFAULT_RULE
    captures_per_minute: int = DEFAULT_CAPTURES


def check_pool_rules(rules: PoolRules) -> PoolRules:
    """Return rules that can hold; raises InvalidInput LIMIT_OUT_OF_RANGE or RULE_OUT_OF_RANGE naming the field."""
    _check_limit("owner_cap", rules.owner_cap, 0, LARGEST_LIMIT)
    _check_limit("daily_claims", rules.daily_claims, 0, LARGEST_LIMIT)
    _check_limit("captures_per_minute", rules.captures_per_minute, 1, MOST_CAPTURES)
    return PoolRules(
        rules.owner_cap,
        rules.daily_claims,
        check_rule(rules.reclaim, "settings"),
        rules.captures_per_minute,
    )


@dataclass(frozen=True)
class PoolTerms:
    """What holds in one pool. daily_claims: of a person, 0 for no limit."""

    name: str
    members: PoolScope
    daily_claims: int
    reclaim: ReclaimRule


def check_pool_terms(terms: PoolTerms) -> PoolTerms:
    """Return terms that can hold, the name trimmed.

    Raises InvalidInput naming the field: TEXT_EMPTY, TEXT_TOO_LONG, MEMBERS_TOO_MANY, NOT_A_UUID, LIMIT_OUT_OF_RANGE,
    RULE_OUT_OF_RANGE.
    """
    members = terms.members
    records = {
        "department_ids": members.department_ids,
        "person_ids": members.person_ids,
        "region_department_ids": members.region_ids,
    }
    for field, named in {**records, "roles": members.roles}.items():
        if len(named) > MOST_MEMBERS:
            raise InvalidInput(
                f"pool.{field}",
                "MEMBERS_TOO_MANY",
                "成员最多{most}个",
                "At most {most} members",
                most=MOST_MEMBERS,
            )
    for field, ids in records.items():
        for each in ids:
            parse_id(each, f"pool.{field}")
    for role in members.roles:
        parse_text(role, "pool.roles", LONGEST_ROLE)
    _check_limit("daily_claims", terms.daily_claims, 0, LARGEST_LIMIT, "pool")
    return replace(
        terms, name=parse_text(terms.name, "pool.name", 50), reclaim=check_rule(terms.reclaim, "pool")
    )


def pool_forbidden() -> Forbidden:
    """Return the refusal for somebody outside a pool's members."""
    return Forbidden("POOL_FORBIDDEN", "您不在该线索池的成员范围内", "You are not a member of this pool")


def _check_limit(name: str, value: int, least: int, most: int, place: str = "settings") -> None:
    if not least <= value <= most:
        raise InvalidInput(
            f"{place}.{name}",
            "LIMIT_OUT_OF_RANGE",
            "{field} 应在 {least} 到 {most} 之间",
            "{field} is {least} to {most}",
            least=least,
            most=most,
        )


def check_captures(count: int, limit: int, now: datetime) -> None:
    """Raise Quota CAPTURES_USED_UP, until the minute ends, when `count` is more than a caller may capture in one."""
    if count > limit:
        raise Quota(
            "CAPTURES_USED_UP",
            "接收线索过于频繁（每分钟最多{limit}条）",
            "Too many leads at once (at most {limit} a minute)",
            retry_after_s=60 - now.second,
            limit=limit,
        )


def capture_signature(secret: bytes, sign_time: int, fields: Sequence[str]) -> str:
    """Return the signature of a captured lead: HMAC-SHA256, hexadecimal, over each part with a line feed behind it.

    sign_time: Unix seconds. fields: source, source_key, name, company, phone, note as sent.
    """
    message = "".join(f"{part}\n" for part in (sign_time, *fields))
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()


def check_signature(
    secret: bytes, sign_time: int, fields: Sequence[str], signature: str, now: datetime
) -> None:
    """Raise Unauthenticated SIGNATURE_INVALID or SIGNATURE_EXPIRED unless this source signed this lead just now."""
    if not hmac.compare_digest(capture_signature(secret, sign_time, fields).encode(), signature.encode()):
        raise Unauthenticated("SIGNATURE_INVALID", "签名不正确", "The signature is wrong")
    if abs(now.timestamp() - sign_time) > SIGNATURE_LIFE.total_seconds():
        raise Unauthenticated(
            "SIGNATURE_EXPIRED", "签名已过期，请校准时钟", "The signature is too old; set the clock"
        )
