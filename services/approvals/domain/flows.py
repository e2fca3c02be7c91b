"""Which steps a subject goes through: presets, and what an administrator may set instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from services.chassis.errors import InvalidInput


class SubjectType(StrEnum):
    """What can be approved."""

    REGISTRATION = "registration"
    ORDER = "order"
    CONTRACT = "contract"
    PAYMENT = "payment"


# A step that waits this long is reminded of, where its flow says nothing else.
DEFAULT_TIME_LIMIT = timedelta(days=3)
SHORTEST_TIME_LIMIT = timedelta(minutes=1)
LONGEST_TIME_LIMIT = timedelta(days=30)
MOST_STEPS = 10
# Roles or people of one step.
MOST_APPROVERS = 20


@dataclass(frozen=True)
class FlowStep:
    """A step of a flow.

    roles: whose holders over the submitter decide, any one of them; person_ids: who decide instead, any one of
    them; neither: the approver whom the submitter chose. amount_from, amount_below: the step is asked only from the
    one on and below the other, CNY; None for always. time_limit: until a reminder, and between two. escalate_role:
    whose holders may decide too once that has passed, "" for nobody's.
    """

    name: str
    roles: tuple[str, ...] = ()
    amount_from: Decimal | None = None
    amount_below: Decimal | None = None
    person_ids: tuple[str, ...] = ()
    time_limit: timedelta = DEFAULT_TIME_LIMIT
    escalate_role: str = ""


# The role that stands in where nobody holds the one that a step asks for.
STAND_IN_ROLE = "admin"
# The right that every approver needs.
DECIDE_RIGHT = "approvals.decide"

PRESETS = {
    SubjectType.REGISTRATION: (FlowStep("报备审核人"),),
    # F175, F176, O1: exactly 10000 asks both.
    SubjectType.ORDER: (
        FlowStep("销售经理", ("sales_manager",)),
        FlowStep("销售总监", ("director",), Decimal("10000.00")),
    ),
    # F180.
    SubjectType.CONTRACT: (FlowStep("合同审核", ("sales_manager",)),),
    # F182.
    SubjectType.PAYMENT: (FlowStep("付款审批", ("sales_manager",)),),
}


def check_flow(subject_type: SubjectType, steps: Sequence[FlowStep]) -> tuple[FlowStep, ...]:
    """Return steps that an approval can always get through (F177).

    Nobody can be stuck in them: where nobody fits a step, administrators decide it. Raises InvalidInput naming the
    field: STEPS_OUT_OF_RANGE, STEP_APPROVERS_INVALID, STEP_AMOUNTS_INVALID, TIME_LIMIT_OUT_OF_RANGE.
    """
    if not 1 <= len(steps) <= MOST_STEPS:
        raise InvalidInput(
            "steps",
            "STEPS_OUT_OF_RANGE",
            "审批流程应有 1 到 {most} 步",
            "A flow has 1 to {most} steps",
            most=MOST_STEPS,
        )
    for index, step in enumerate(steps):
        _check_step(subject_type, step, f"steps[{index}]")
    return tuple(steps)


def _check_step(subject_type: SubjectType, step: FlowStep, field: str) -> None:
    chosen = not step.roles and not step.person_ids
    if (
        (step.roles and step.person_ids)
        or (chosen and subject_type is not SubjectType.REGISTRATION)
        or max(len(step.roles), len(step.person_ids)) > MOST_APPROVERS
    ):
        raise InvalidInput(
            f"{field}.roles",
            "STEP_APPROVERS_INVALID",
            "每一步应指定角色或人员之一，最多{most}个；仅客户报备可由提交人选择审批人",
            "A step names roles or people, at most {most}; only a registration's approver can be chosen",
            most=MOST_APPROVERS,
        )
    if (
        step.amount_from is not None
        and step.amount_below is not None
        and step.amount_from >= step.amount_below
    ):
        raise InvalidInput(
            f"{field}.amount_below",
            "STEP_AMOUNTS_INVALID",
            "金额上限应大于下限",
            "amount_below must be more than amount_from",
        )
    if not SHORTEST_TIME_LIMIT <= step.time_limit <= LONGEST_TIME_LIMIT:
        raise InvalidInput(
            f"{field}.time_limit",
            "TIME_LIMIT_OUT_OF_RANGE",
            "审批时限应在 1 分钟到 {days} 天之间",
            "A time limit is a minute to {days} days",
            days=LONGEST_TIME_LIMIT.days,
        )
