"""Messages of the contract about pools: what a form says, checked field by field, and rows as messages."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import pools_pb2

from services.chassis.errors import AppError, InvalidInput
from services.chassis.ids import parse_id
from services.chassis.timestamps import timestamp
from services.customers.domain.customers import Cause
from services.customers.domain.pools import HIDEABLE
from services.customers.messages import customer_message
from services.customers.store.rules import rule_of
from services.customers.store.tables import (
    AllocationRule,
    CapChange,
    OwnerCap,
    OwnershipChange,
    Pool,
    Settings,
)
from services.customers.usecases.allocation import AllocationDraft
from services.customers.usecases.caps import Capacity, CapDraft, check_adjustment
from services.customers.usecases.hand_overs import DONE, FULL, RUNNING, HandedOver, Progress
from services.customers.usecases.pool_moves import Results
from services.customers.usecases.pool_pages import PooledCustomer
from services.customers.usecases.reclaim_rules import Effect, Explanation, Trial
from services.customers.usecases.settings import PoolDraft, SettingsDraft
from services.kernel.ownership import Clause, Evidence, ReclaimRule, check_rule
from services.kernel.texts import parse_text

CAUSES = {
    Cause.CREATE: pb.OWNERSHIP_CAUSE_CREATE,
    Cause.CLAIM: pb.OWNERSHIP_CAUSE_CLAIM,
    Cause.RETURN: pb.OWNERSHIP_CAUSE_RETURN,
    Cause.RECLAIM: pb.OWNERSHIP_CAUSE_RECLAIM,
    Cause.CONVERT: pb.OWNERSHIP_CAUSE_CONVERT,
    Cause.REGISTER: pb.OWNERSHIP_CAUSE_REGISTER,
    Cause.ASSIGN: pb.OWNERSHIP_CAUSE_ASSIGN,
    Cause.TRANSFER: pb.OWNERSHIP_CAUSE_TRANSFER,
    Cause.HAND_OVER: pb.OWNERSHIP_CAUSE_HAND_OVER,
    Cause.ALLOCATE: pb.OWNERSHIP_CAUSE_ALLOCATE,
    Cause.TRASH: pb.OWNERSHIP_CAUSE_TRASH,
    Cause.RESTORE: pb.OWNERSHIP_CAUSE_RESTORE,
    Cause.REVERSE: pb.OWNERSHIP_CAUSE_REVERSE,
    Cause.MERGE: pb.OWNERSHIP_CAUSE_MERGE,
    Cause.UNMERGE: pb.OWNERSHIP_CAUSE_UNMERGE,
}
HAND_OVER_STATES = {
    RUNNING: pools_pb2.HAND_OVER_STATE_RUNNING,
    DONE: pools_pb2.HAND_OVER_STATE_DONE,
    FULL: pools_pb2.HAND_OVER_STATE_FULL,
}
# Why a customer never falls back, for the reader.
EXEMPTIONS = {"level": "该级别不回收", "category": "该业务类型不回收", "contracted": "已签约客户不回收"}
# Longest period, cool-down and protection, in days.
LONGEST_DAYS = 3650
# Items of a list in a form.
MOST_ITEMS = 500


def rule_draft(rule: pb.ReclaimRule, field: str) -> ReclaimRule:
    """Return the rule of a form; raises InvalidInput naming the field."""
    unknown = [kind for kind in rule.evidence if kind not in set(Evidence)]
    if unknown:
        raise InvalidInput(
            f"{field}.evidence",
            "EVIDENCE_UNKNOWN",
            "没有“{kind}”这种跟进依据",
            "There is no evidence named {kind}",
            kind=unknown[0],
        )
    return check_rule(
        ReclaimRule(
            rule.idle_days,
            rule.warn_days,
            clauses=tuple(
                Clause(
                    clause.idle_days,
                    clause.contract_days,
                    texts(clause.levels, f"{field}.clauses[{index}].levels"),
                    texts(clause.business_types, f"{field}.clauses[{index}].business_types"),
                )
                for index, clause in enumerate(rule.clauses)
            ),
            evidence=frozenset(map(Evidence, rule.evidence)) or frozenset(Evidence),
            exempt_levels=texts(rule.exempt_levels, f"{field}.exempt_levels"),
            exempt_categories=texts(rule.exempt_business_types, f"{field}.exempt_business_types"),
            exempt_contracted=rule.exempt_contracted,
        ),
        field,
    )


def pool_draft(pool: pb.Pool) -> PoolDraft:
    """Return the pool of a form; raises InvalidInput naming the field."""
    if pool.daily_claims < 0:
        raise InvalidInput(
            "pool.daily_claims",
            "DAILY_CLAIMS_OUT_OF_RANGE",
            "每日领取上限不能小于 0",
            "daily_claims is 0 or more",
        )
    for name in ("claim_requests", "claim_period_days", "cool_down_days", "new_data_days"):
        if not 0 <= getattr(pool, name) <= LONGEST_DAYS:
            raise InvalidInput(
                f"pool.{name}",
                "POOL_LIMIT_OUT_OF_RANGE",
                "{name} 应为 0 到 {most}",
                "{name} is 0 to {most}",
                name=name,
                most=LONGEST_DAYS,
            )
    hidden = [name for name in pool.hidden_fields if name not in HIDEABLE]
    if hidden:
        raise InvalidInput(
            "pool.hidden_fields",
            "FIELD_NOT_HIDEABLE",
            "字段 {name} 不能隐藏",
            "The field {name} cannot be hidden",
            name=hidden[0],
        )
    return PoolDraft(
        name=parse_text(pool.name, "pool.name", 50),
        rule=rule_draft(pool.rule, "pool.rule"),
        department_ids=ids(pool.department_ids, "pool.department_ids"),
        daily_claims=pool.daily_claims,
        kind=parse_text(pool.kind, "pool.kind", 50, required=False),
        person_ids=ids(pool.members.person_ids, "pool.members.person_ids"),
        roles=texts(pool.members.roles, "pool.members.roles"),
        region_ids=ids(pool.members.region_department_ids, "pool.members.region_department_ids"),
        admin_ids=ids(pool.admin_ids, "pool.admin_ids"),
        claim_requests=pool.claim_requests,
        claim_period_days=pool.claim_period_days or 1,
        cool_down_days=pool.cool_down_days,
        new_data_days=pool.new_data_days,
        hidden_fields=tuple(sorted(set(pool.hidden_fields))),
    )


def settings_draft(settings: pb.Settings) -> SettingsDraft:
    """Return the settings of a form; without a rule or a pool the ones that stand are kept."""
    pool_id = settings.default_pool_id
    named = settings.HasField("default_rule")
    return SettingsDraft(
        registration_required=settings.registration_required,
        owner_cap=settings.owner_cap,
        rule=rule_draft(settings.default_rule, "settings.default_rule") if named else None,
        default_pool_id=parse_id(pool_id, "settings.default_pool_id") if pool_id else "",
        lock_cap=settings.lock_cap,
    )


def cap_draft(cap: pools_pb2.Cap) -> CapDraft:
    """Return the cap of a form; raises InvalidInput naming the field."""
    if cap.most < 0:
        raise InvalidInput("cap.most", "CAP_OUT_OF_RANGE", "上限不能小于 0", "most is 0 or more")
    names = ("window_days", "share_percent", "step", "least", "most")
    return CapDraft(
        name=parse_text(cap.name, "cap.name", 50),
        person_ids=ids(cap.person_ids, "cap.person_ids"),
        department_ids=ids(cap.department_ids, "cap.department_ids"),
        regions=texts(cap.regions, "cap.regions"),
        levels=texts(cap.levels, "cap.levels"),
        most=cap.most,
        without_contracted=cap.without_contracted,
        without_business_types=texts(cap.without_business_types, "cap.without_business_types"),
        adjustment=check_adjustment({name: getattr(cap.adjustment, name) for name in names}),
    )


def allocation_draft(rule: pools_pb2.AllocationRule) -> AllocationDraft:
    """Return the allocation rule of a form; raises InvalidInput naming the field."""
    people = ids(rule.person_ids, "rule.person_ids")
    if not people:
        raise InvalidInput(
            "rule.person_ids", "PEOPLE_MISSING", "至少选择一名接收人", "Name at least one person"
        )
    return AllocationDraft(
        name=parse_text(rule.name, "rule.name", 50),
        pool_id=parse_id(rule.pool_id, "rule.pool_id"),
        position=rule.position,
        regions=texts(rule.regions, "rule.regions"),
        levels=texts(rule.levels, "rule.levels"),
        least_loaded=rule.method == pools_pb2.ALLOCATION_METHOD_LEAST_LOADED,
        former_owner_first=rule.former_owner_first,
        person_ids=people,
    )


def ids(values: Sequence[str], field: str) -> tuple[str, ...]:
    """Return UUIDs, each once; raises InvalidInput naming the place in the list."""
    _check_items(values, field)
    return tuple(dict.fromkeys(parse_id(value, f"{field}[{index}]") for index, value in enumerate(values)))


def texts(values: Sequence[str], field: str) -> tuple[str, ...]:
    """Return short texts, each once; raises InvalidInput naming the place in the list."""
    _check_items(values, field)
    return tuple(
        dict.fromkeys(parse_text(value, f"{field}[{index}]", 100) for index, value in enumerate(values))
    )


def _check_items(values: Sequence[str], field: str) -> None:
    if len(values) > MOST_ITEMS:
        raise InvalidInput(
            field, "TOO_MANY", "{field} 最多{most}项", "{field} has at most {most} items", most=MOST_ITEMS
        )


def item_results(asked: Iterable[str], results: Results, locale: str) -> list[pb.ItemResult]:
    """Return what became of each item, in the order asked."""
    messages = []
    for customer_id in asked:
        result = results[customer_id]
        if isinstance(result, AppError):
            messages.append(
                pb.ItemResult(customer_id=customer_id, reason=result.reason, message=result.message(locale))
            )
        else:
            messages.append(pb.ItemResult(customer_id=customer_id, done=True))
    return messages


def ownership_change_message(row: OwnershipChange) -> pb.OwnershipChange:
    """Return a row of the ledger."""
    return pb.OwnershipChange(
        change_id=row.change_id,
        from_owner_id=row.from_owner_id or "",
        to_owner_id=row.to_owner_id or "",
        pool_id=row.pool_id or "",
        cause=CAUSES[Cause(row.cause)],
        actor_id=row.actor_id or "",
        reason=row.reason,
        rule_version=row.rule_version,
        create_time=timestamp(row.create_time),
        inputs={name: str(value) for name, value in row.inputs.items()},
    )


def rule_message(rule: ReclaimRule) -> pb.ReclaimRule:
    """Return a rule; one that counts every kind of evidence names none."""
    named = rule.evidence != frozenset(Evidence)
    return pb.ReclaimRule(
        idle_days=rule.idle_days,
        warn_days=rule.warn_days,
        clauses=[clause_message(clause) for clause in rule.clauses],
        evidence=[kind for kind in Evidence if kind in rule.evidence] if named else [],
        exempt_levels=rule.exempt_levels,
        exempt_business_types=rule.exempt_categories,
        exempt_contracted=rule.exempt_contracted,
    )


def clause_message(clause: Clause) -> pb.ReclaimClause:
    """Return a clause."""
    return pb.ReclaimClause(
        idle_days=clause.idle_days,
        contract_days=clause.contract_days,
        levels=clause.levels,
        business_types=clause.categories,
    )


def pool_message(row: Pool) -> pb.Pool:
    """Return a pool."""
    named = row.person_ids or row.roles or row.region_ids
    members = pb.PoolMembers(person_ids=row.person_ids, roles=row.roles, region_department_ids=row.region_ids)
    return pb.Pool(
        pool_id=row.pool_id,
        name=row.name,
        rule=rule_message(rule_of(row)),
        department_ids=row.department_ids,
        daily_claims=row.daily_claims,
        version=row.version,
        kind=row.kind,
        members=members if named else None,
        admin_ids=row.admin_ids,
        claim_requests=row.claim_requests,
        claim_period_days=row.claim_period_days,
        cool_down_days=row.cool_down_days,
        new_data_days=row.new_data_days,
        hidden_fields=row.hidden_fields,
    )


def settings_message(row: Settings) -> pb.Settings:
    """Return the settings."""
    return pb.Settings(
        registration_required=row.registration_required,
        owner_cap=row.owner_cap,
        default_rule=rule_message(rule_of(row)),
        default_pool_id=row.default_pool_id,
        lock_cap=row.lock_cap,
    )


def pool_customer_message(pooled: PooledCustomer, now: datetime) -> pools_pb2.PoolCustomer:
    """Return a customer in a pool with facts."""
    last = pooled.last
    return pools_pb2.PoolCustomer(
        customer=customer_message(pooled.seen, now),
        times_lost=pooled.times_lost,
        last_cause=CAUSES[Cause(last.cause)] if last else pb.OWNERSHIP_CAUSE_UNSPECIFIED,
        last_reason=last.reason if last else "",
        pool_time=timestamp(pooled.seen.customer.pool_time),
    )


def hand_over_message(progress: Progress) -> pools_pb2.HandOver:
    """Return a hand-over."""
    row = progress.row
    return pools_pb2.HandOver(
        hand_over_id=row.hand_over_id,
        from_person_id=row.from_person_id,
        to_person_ids=row.to_person_ids,
        pool_id=row.pool_id or "",
        reason=row.reason,
        state=HAND_OVER_STATES[row.state],
        moved=row.moved,
        pooled=row.pooled,
        left=progress.left,
        create_time=timestamp(row.create_time),
        actor_id=row.actor_id,
        refused=row.refused,
        end_time=timestamp(row.end_time),
    )


def hand_over_item_message(handed: HandedOver) -> pools_pb2.HandOverItem:
    """Return what a hand-over did with a customer."""
    item = handed.item
    return pools_pb2.HandOverItem(
        customer_id=item.customer_id,
        name=handed.name,
        to_person_id=item.to_person_id or "",
        pool_id=item.pool_id or "",
        refusal=item.refusal,
        create_time=timestamp(item.create_time),
    )


def explanation_message(explained: Explanation, now: datetime) -> pools_pb2.ExplainReclaimResponse:
    """Return why and when a customer falls back."""
    row = explained.customer
    due, locked = row.reclaim_due_at, row.lock_expire_time
    return pools_pb2.ExplainReclaimResponse(
        reclaim_due_time=timestamp(due),
        warn_due_time=timestamp(row.warn_due_at),
        days_left=max((due - now).days, 0) if due else 0,
        lock_expire_time=timestamp(locked if locked and locked > now else None),
        rule_pool_id=row.pool_id or "",
        rule_version=explained.applied.version,
        clause=clause_message(explained.clause) if explained.clause else None,
        pool_id=explained.applied.pool_id,
        resets=explained.resets,
        exemption=EXEMPTIONS.get(explained.exempt, ""),
    )


def trial_message(trial: Trial) -> pools_pb2.TryReclaimRuleResponse:
    """Return what a rule would do."""

    def effect(value: Effect) -> pools_pb2.RuleEffect:
        return pools_pb2.RuleEffect(customers=value.customers, owners=value.owners)

    return pools_pb2.TryReclaimRuleResponse(
        today=effect(trial.today),
        tried=effect(trial.tried),
        added=effect(trial.added),
        spared=effect(trial.spared),
        customers=trial.customers,
        examples=[
            pools_pb2.RuleChange(
                customer_id=example.customer_id,
                name=example.name,
                owner_id=example.owner_id,
                due_time=timestamp(example.due),
                new_due_time=timestamp(example.tried),
            )
            for example in trial.examples
        ],
    )


def cap_message(row: OwnerCap) -> pools_pb2.Cap:
    """Return a cap."""
    adjustment: Mapping[str, int] = row.adjustment
    return pools_pb2.Cap(
        cap_id=row.cap_id,
        name=row.name,
        person_ids=row.person_ids,
        department_ids=row.department_ids,
        regions=row.regions,
        levels=row.levels,
        most=row.most,
        without_contracted=row.without_contracted,
        without_business_types=row.without_business_types,
        adjustment=pools_pb2.CapAdjustment(**adjustment) if adjustment else None,
        version=row.version,
    )


def capacity_message(capacity: Capacity) -> pools_pb2.GetCapacityResponse:
    """Return what somebody owns and may."""
    return pools_pb2.GetCapacityResponse(
        caps=[
            pools_pb2.CapUse(cap_id=use.cap_id, name=use.name, used=use.used, most=use.most)
            for use in capacity.caps
        ],
        locked=capacity.locked,
        lock_cap=capacity.lock_cap,
    )


def cap_change_message(row: CapChange) -> pools_pb2.CapChange:
    """Return an automatic change of a cap."""
    return pools_pb2.CapChange(
        change_id=row.change_id,
        cap_id=row.cap_id,
        person_id=row.person_id,
        from_most=row.from_most,
        to_most=row.to_most,
        owned=row.owned,
        contracted=row.contracted,
        create_time=timestamp(row.create_time),
    )


def allocation_rule_message(row: AllocationRule) -> pools_pb2.AllocationRule:
    """Return an allocation rule."""
    return pools_pb2.AllocationRule(
        rule_id=row.rule_id,
        name=row.name,
        pool_id=row.pool_id,
        position=row.position,
        regions=row.regions,
        levels=row.levels,
        method=pools_pb2.ALLOCATION_METHOD_LEAST_LOADED
        if row.least_loaded
        else pools_pb2.ALLOCATION_METHOD_ROUND_ROBIN,
        former_owner_first=row.former_owner_first,
        person_ids=row.person_ids,
        version=row.version,
    )
