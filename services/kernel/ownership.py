"""Rules of owning, without data: caps, quotas, locks, and when neglect loses a record to its pool.

Customers and leads are owned under the same rules: a service counts under its own locks, and these functions decide.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from services.chassis.errors import InvalidInput, Quota, RuleViolation
from services.kernel.china_time import day_start, display_time

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


# Ways to lose a record that one rule may hold.
MOST_CLAUSES = 20


class Evidence(StrEnum):
    """What shows that somebody works on a record (O10)."""

    FOLLOW_UP = "follow_up"
    CALL = "call"
    ORDER = "order"
    CONTRACT = "contract"


@dataclass(frozen=True)
class Clause:
    """One way to lose a record: all that is set of it holds (F18).

    idle_days: no evidence for so long; contract_days: no contract for so long; 0: not asked. levels, categories: of
    the records that it is about, empty for all.
    """

    idle_days: int = 0
    contract_days: int = 0
    levels: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What it says of a record that it took."""
        parts = []
        if self.idle_days:
            parts.append(f"超过{self.idle_days}天未跟进")
        if self.contract_days:
            parts.append(f"超过{self.contract_days}天未签约")
        return "且".join(parts)


@dataclass(frozen=True)
class ReclaimRule:
    """When neglect loses a record: as soon as one clause holds; the owner is warned `warn_days` before.

    idle_days: without clauses, the only one: no evidence for so long; 0 days: never. evidence: what restarts the
    clock. Records of the exempt levels and categories, and with exempt_contracted those with a contract, stay.
    """

    idle_days: int
    warn_days: int
    clauses: tuple[Clause, ...] = ()
    evidence: frozenset[Evidence] = frozenset(Evidence)
    exempt_levels: tuple[str, ...] = ()
    exempt_categories: tuple[str, ...] = ()
    exempt_contracted: bool = False

    @property
    def ways(self) -> tuple[Clause, ...]:
        """The clauses, also of a rule that is only a number of days."""
        return self.clauses or ((Clause(idle_days=self.idle_days),) if self.idle_days else ())


# Ninety days without a sales record (F17).
DEFAULT_RULE = ReclaimRule(idle_days=90, warn_days=1)


@dataclass(frozen=True)
class Due:
    """When the owner is warned, and when the record is taken back, if nothing happens until then."""

    warn: datetime
    reclaim: datetime


@dataclass(frozen=True)
class Standing:
    """What a rule looks at. own_time: since when the owner has it. last: time of the last evidence of each kind."""

    own_time: datetime
    last: Mapping[Evidence, datetime] = field(default_factory=dict)
    level: str = ""
    category: str = ""


@dataclass(frozen=True)
class Fate:
    """When a record falls, and by which clause of its rule."""

    due: Due
    clause: Clause


def check_rule(rule: ReclaimRule, field: str) -> ReclaimRule:
    """Return a rule that can hold; raises InvalidInput RULE_OUT_OF_RANGE or EVIDENCE_MISSING naming the field."""
    if not rule.evidence:
        raise InvalidInput(
            f"{field}.evidence",
            "EVIDENCE_MISSING",
            "至少选择一种跟进依据",
            "Name at least one kind of evidence",
        )
    if rule.clauses:
        return _check_clauses(rule, field)
    if rule.idle_days == 0:
        return replace(rule, warn_days=0)
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


def _check_clauses(rule: ReclaimRule, field: str) -> ReclaimRule:
    if len(rule.clauses) > MOST_CLAUSES:
        raise InvalidInput(
            f"{field}.clauses",
            "RULE_OUT_OF_RANGE",
            "最多{most}条回收条件",
            "At most {most} clauses",
            most=MOST_CLAUSES,
        )
    for index, clause in enumerate(rule.clauses):
        place = f"{field}.clauses[{index}]"
        asked = [days for days in (clause.idle_days, clause.contract_days) if days]
        for name, days in (("idle_days", clause.idle_days), ("contract_days", clause.contract_days)):
            if not asked or (days and not 1 < days <= LONGEST_IDLE_DAYS):
                raise InvalidInput(
                    f"{place}.{name}",
                    "RULE_OUT_OF_RANGE",
                    "回收天数应为 2 到 {most}",
                    "A clause asks for 2 to {most} days",
                    most=LONGEST_IDLE_DAYS,
                )
        if not 1 <= rule.warn_days < max(asked):
            raise InvalidInput(
                f"{field}.warn_days",
                "RULE_OUT_OF_RANGE",
                "提前提醒天数应至少为 1，且小于回收天数",
                "warn_days is at least 1 and less than the days of every clause",
            )
    return replace(rule, idle_days=0)


def fate(rule: ReclaimRule, record: Standing) -> Fate | None:
    """Return when and by which clause a record falls; None where it never does.

    Each clock starts when the owner gains the record, so that one never followed up is not lost at once (O13).
    """
    if exemption(rule, record):
        return None
    first: Fate | None = None
    for clause in rule.ways:
        if not _is_about(clause, record):
            continue
        reclaim = max(_dues(rule, clause, record))
        if first is None or reclaim < first.due.reclaim:
            first = Fate(Due(reclaim - timedelta(days=rule.warn_days), reclaim), clause)
    return first


def resets(rule: ReclaimRule, clause: Clause) -> list[Evidence]:
    """Return what restarts the clock of a clause: enough that one of its conditions starts anew."""
    kinds = set(rule.evidence) if clause.idle_days else set()
    if clause.contract_days:
        kinds.add(Evidence.CONTRACT)
    return [kind for kind in Evidence if kind in kinds]


def exemption(rule: ReclaimRule, record: Standing) -> str:
    """Return why a rule spares a record: level, category or contracted; "" where it does not."""
    if record.level in rule.exempt_levels:
        return "level"
    if record.category in rule.exempt_categories:
        return "category"
    if rule.exempt_contracted and Evidence.CONTRACT in record.last:
        return "contracted"
    return ""


def _is_about(clause: Clause, record: Standing) -> bool:
    return (not clause.levels or record.level in clause.levels) and (
        not clause.categories or record.category in clause.categories
    )


def _dues(rule: ReclaimRule, clause: Clause, record: Standing) -> list[datetime]:
    """Return when each condition of a clause comes true; the clause holds with the last of them."""
    dues = []
    if clause.idle_days:
        counted = [record.last[kind] for kind in rule.evidence if kind in record.last]
        dues.append(max([record.own_time, *counted]) + timedelta(days=clause.idle_days))
    if clause.contract_days:
        contract = record.last.get(Evidence.CONTRACT, record.own_time)
        dues.append(max(record.own_time, contract) + timedelta(days=clause.contract_days))
    return dues


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


def check_claims(
    used: int, limit: int, *, requests: int, request_limit: int, now: datetime, days: int
) -> None:
    """Raise Quota until the period of `days` is over: DAILY_CLAIMS_USED_UP, CLAIM_REQUESTS_USED_UP (F21, O6).

    used, requests: records and claim requests of the period so far, as the ledger has them; limit 0: no limit.
    """
    if days <= 1:
        check_daily_claims(used, limit, now)
    over = int((day_start(now) + timedelta(days=1) - now).total_seconds()) + 1
    if limit and used >= limit:
        raise Quota(
            "DAILY_CLAIMS_USED_UP",
            "近{days}天的领取数量已用完（{used}/{limit}）",
            "You have claimed as many in {days} days as you may ({used}/{limit})",
            retry_after_s=over,
            used=used,
            limit=limit,
            days=days,
        )
    if request_limit and requests >= request_limit:
        raise Quota(
            "CLAIM_REQUESTS_USED_UP",
            "近{days}天的领取次数已用完（{used}/{limit}）",
            "You have claimed as often in {days} days as you may ({used}/{limit})",
            retry_after_s=over,
            used=requests,
            limit=request_limit,
            days=days,
        )


def period_start(now: datetime, days: int) -> datetime:
    """Return when a period of so many days, today included, began in China."""
    return day_start(now) - timedelta(days=max(days, 1) - 1)


def check_cool_down(lost: datetime | None, days: int, now: datetime) -> None:
    """Raise RuleViolation COOLING_DOWN for whoever owned a record within so many days; lost: when, the last time."""
    if lost is None or now >= lost + timedelta(days=days):
        return
    raise RuleViolation(
        "COOLING_DOWN",
        "您曾负责该客户，{until} 前不能领取",
        "You owned it before; you may claim it again from {until}",
        until=display_time(lost + timedelta(days=days)),
        days=days,
    )


def check_new_data(created: datetime, days: int, now: datetime) -> None:
    """Raise RuleViolation NEW_DATA_PROTECTED while a record is younger than so many days; an edit is no birth."""
    if now >= created + timedelta(days=days):
        return
    raise RuleViolation(
        "NEW_DATA_PROTECTED",
        "新客户保护期内，{until} 起可领取",
        "New data is protected; it may be claimed from {until}",
        until=display_time(created + timedelta(days=days)),
        days=days,
    )


@dataclass(frozen=True)
class PoolScope:
    """Whose pool it is: people of departments, single people, holders of roles, people of regions (F26)."""

    department_ids: frozenset[str] = frozenset()
    person_ids: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    region_ids: frozenset[str] = frozenset()

    def admits(
        self,
        person_id: str,
        department_path: str,
        roles: Collection[str] = (),
        region_ids: Collection[str] = (),
    ) -> bool:
        """Tell whether somebody is a member; where nothing is named, everybody is."""
        if not (self.department_ids or self.person_ids or self.roles or self.region_ids):
            return True
        return (
            person_id in self.person_ids
            or not self.roles.isdisjoint(roles)
            or not self.region_ids.isdisjoint(region_ids)
            or not self.department_ids.isdisjoint(department_path.split("/"))
        )


@dataclass(frozen=True)
class Cap:
    """How many records somebody may own. limit: 0 for none.

    person_ids, department_ids: whom it holds for, both empty for everybody. regions, levels: of the records that it
    is about, empty for all.
    """

    id: str
    limit: int
    person_ids: tuple[str, ...] = ()
    department_ids: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()

    def holds_for(self, person_id: str, department_path: str) -> bool:
        """Tell whether it is about somebody's records."""
        everybody = not self.person_ids and not self.department_ids
        return everybody or person_id in self.person_ids or self._depth(department_path) > 0

    def is_about(self, region: str, level: str) -> bool:
        """Tell whether it is about such a record."""
        return (not self.regions or region in self.regions) and (not self.levels or level in self.levels)

    def rank(self, person_id: str, department_path: str) -> tuple[bool, int, bool, bool, str]:
        """Return how specific it is, the most specific lowest: person, then the nearest department, then region and
        level, region, level; of equals the older id."""
        return (
            person_id not in self.person_ids,
            -self._depth(department_path),
            not self.regions,
            not self.levels,
            self.id,
        )

    def _depth(self, department_path: str) -> int:
        """Return how deep in the path the nearest of its departments is, 0 for none."""
        path = department_path.strip("/").split("/")
        return max((depth for depth, part in enumerate(path, 1) if part in self.department_ids), default=0)


def winning_cap(
    caps: Collection[Cap], person_id: str, department_path: str, region: str, level: str
) -> Cap | None:
    """Return the most specific cap on somebody's gain of such a record (F30); None where there is none."""
    holding = [
        cap for cap in caps if cap.holds_for(person_id, department_path) and cap.is_about(region, level)
    ]
    return min(holding, key=lambda cap: cap.rank(person_id, department_path), default=None)


def adjusted_limit(
    limit: int, owned: int, contracted: int, *, share_percent: int, step: int, least: int, most: int
) -> int:
    """Return a cap after a look at how many of the owned records have a contract (F31)."""
    if not owned:
        return limit
    grows = contracted * 100 >= share_percent * owned
    return min(max(limit + (step if grows else -step), least), most)


@dataclass(frozen=True)
class Candidate:
    """Somebody who may get a record. load: how many are owned already."""

    person_id: str
    load: int


def choose_owner(
    candidates: Sequence[Candidate], turn: int, *, least_loaded: bool, former_owner_id: str = ""
) -> list[str]:
    """Return who gets a record, best first, the rest as who comes next when that one is full (F32).

    candidates: in the rule's order. turn: how many records the rule has allocated. former_owner_id: comes first if
    among them. The same input gives the same answer.
    """
    people = [candidate.person_id for candidate in candidates]
    if least_loaded:
        order = sorted(candidates, key=lambda candidate: candidate.load)
        people = [candidate.person_id for candidate in order]
    elif people:
        first = turn % len(people)
        people = people[first:] + people[:first]
    return sorted(people, key=lambda person_id: person_id != former_owner_id)


def check_lock(days: int, locked: int, limit: int = MOST_LOCKS) -> timedelta:
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
    if locked >= limit:
        raise RuleViolation(
            "LOCK_CAP_REACHED",
            "最多锁定{limit}条（{used}/{limit}）",
            "You may keep at most {limit} locked ({used}/{limit})",
            used=locked,
            limit=limit,
        )
    return timedelta(days=days or LOCK_DAYS)
