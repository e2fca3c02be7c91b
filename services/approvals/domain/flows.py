"""Which steps a subject goes through: presets, and what an administrator may set instead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from services.chassis.errors import InvalidInput
from services.kernel.fields import parse_day
from services.kernel.filters import Context, Filter, Kind


class SubjectType(StrEnum):
    """What can be approved."""

    REGISTRATION = "registration"
    ORDER = "order"
    CONTRACT = "contract"
    PAYMENT = "payment"
    EXPENSE = "expense"
    SUPPORT = "support"
    FOLLOW_UP = "follow_up"
    CUSTOMER = "customer"
    LEAD = "lead"
    OPPORTUNITY = "opportunity"
    QUOTE = "quote"
    OTHER = "other"


class Mode(StrEnum):
    """How several approvers of a step decide: one is enough, all in whatever order, all one after the other."""

    ANY = "any"
    ALL = "all"
    IN_TURN = "in_turn"


class WhenEmpty(StrEnum):
    """What becomes of a step that nobody fits."""

    ADMINISTRATORS = "administrators"
    NAMED = "named"
    APPROVE = "approve"
    REFUSE = "refuse"


class Recall(StrEnum):
    """When a submitter may take a submission back."""

    UNDECIDED = "undecided"
    UNTOUCHED = "untouched"
    NEVER = "never"


class Repeat(StrEnum):
    """What is asked of somebody who has passed an earlier step: to decide again, or nothing."""

    ASK = "ask"
    SKIP = "skip"


# What a person submits by a form of approvals' own; everything else is submitted by the service that owns it (F181).
REQUESTS = (
    SubjectType.EXPENSE,
    SubjectType.SUPPORT,
    SubjectType.FOLLOW_UP,
    SubjectType.CUSTOMER,
    SubjectType.LEAD,
    SubjectType.OPPORTUNITY,
    SubjectType.QUOTE,
    SubjectType.OTHER,
)

_SUBMITTED = {"submitter_id": Kind.ID}
_SOLD = {"amount": Kind.NUMBER, "number": Kind.TEXT, "title": Kind.TEXT, **_SUBMITTED}
# What a condition may ask about: what approvers are shown, by its name, and who submitted it.
FIELDS: Mapping[SubjectType, Mapping[str, Kind]] = {
    SubjectType.REGISTRATION: {
        "name": Kind.TEXT,
        "level": Kind.CHOICE,
        "region": Kind.TEXT,
        "address": Kind.TEXT,
        "business_type": Kind.CHOICE,
        **_SUBMITTED,
    },
    # lines: product, quantity and price of every line.
    SubjectType.ORDER: {**_SOLD, "customer": Kind.TEXT, "lines": Kind.TEXT},
    SubjectType.CONTRACT: {**_SOLD, "customer": Kind.TEXT, "start": Kind.DATE, "end": Kind.DATE},
    SubjectType.PAYMENT: {**_SOLD, "account": Kind.TEXT, "note": Kind.TEXT},
    **{
        request: {
            "amount": Kind.NUMBER,
            "title": Kind.TEXT,
            "about": Kind.TEXT,
            "details": Kind.TEXT,
            **_SUBMITTED,
        }
        for request in REQUESTS
    },
}

# A step that waits this long is reminded of, where its flow says nothing else.
DEFAULT_TIME_LIMIT = timedelta(days=3)
SHORTEST_TIME_LIMIT = timedelta(minutes=1)
LONGEST_TIME_LIMIT = timedelta(days=30)
MOST_STEPS = 10
# Roles or people of one step.
MOST_APPROVERS = 20
# Farthest superior that a step may ask.
HIGHEST_SUPERIOR = 10
# As a step's department: the submitter's.
OWN_DEPARTMENT = "own"


@dataclass(frozen=True)
class FlowStep:
    """A step of a flow.

    Who decides it is one of these: roles, whose holders over the submitter do; person_ids; superior_level, the
    submitter's superior of that level, from 1; head_of, the head of a department, OWN_DEPARTMENT or an id; none of
    them, the approver whom the submitter chose. mode: how several decide.

    amount_from, amount_below: the step is asked only from the one on and below the other, CNY; None for always.
    condition: it is asked only of what passes this filter over FIELDS, as JSON, "" for always. time_limit: until a
    reminder, and between two. escalate_role: whose holders may decide too once that has passed, "" for nobody's.
    when_empty: what becomes of it when nobody fits; stand_in_ids: who decides then, for NAMED.
    """

    name: str
    roles: tuple[str, ...] = ()
    amount_from: Decimal | None = None
    amount_below: Decimal | None = None
    person_ids: tuple[str, ...] = ()
    time_limit: timedelta = DEFAULT_TIME_LIMIT
    escalate_role: str = ""
    mode: Mode = Mode.ANY
    superior_level: int = 0
    head_of: str = ""
    when_empty: WhenEmpty = WhenEmpty.ADMINISTRATORS
    stand_in_ids: tuple[str, ...] = ()
    condition: str = ""


@dataclass(frozen=True)
class FlowRules:
    """What holds for every step of a flow."""

    recall: Recall = Recall.UNDECIDED
    repeat: Repeat = Repeat.ASK


@dataclass(frozen=True)
class Subject:
    """What conditions ask about. amount: CNY, None where there is none. shown: (name, value) in order."""

    type: SubjectType
    submitter_id: str
    amount: Decimal | None
    shown: Sequence[Sequence[str]]


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
    # F181, F184.
    SubjectType.EXPENSE: (
        FlowStep("直属上级", superior_level=1),
        FlowStep("销售总监", ("director",), Decimal("10000.00")),
    ),
    **dict.fromkeys(REQUESTS[1:], (FlowStep("直属上级", superior_level=1),)),
}


def is_asked(step: FlowStep, subject: Subject, now: datetime) -> bool:
    """Return whether a step is asked for a subject (O1: from exactly the limit on); without an amount it is."""
    amount = subject.amount
    if amount is not None and (
        (step.amount_from is not None and amount < step.amount_from)
        or (step.amount_below is not None and amount >= step.amount_below)
    ):
        return False
    if not step.condition:
        return True
    wanted = Filter.parse(step.condition, FIELDS[subject.type])
    return wanted.matches(_facts(subject), Context(now, subject.submitter_id))


def _facts(subject: Subject) -> dict[str, object]:
    """Return what a subject's conditions may ask about, of the kinds that FIELDS gives it."""
    facts: dict[str, object] = {}
    lines = []
    for name, value in subject.shown:
        if name.startswith("line "):
            lines.append(value)
        facts[name] = parse_day(value) if FIELDS[subject.type].get(name) is Kind.DATE else value
    return facts | {
        "lines": "\n".join(lines),
        "amount": subject.amount,
        "submitter_id": subject.submitter_id,
    }


def check_flow(subject_type: SubjectType, steps: Sequence[FlowStep]) -> tuple[FlowStep, ...]:
    """Return steps that an approval can always get through (F177).

    Nobody can be stuck in them: where nobody fits a step, it is passed, refused, or decided by somebody who is named,
    and in the end by administrators. Raises InvalidInput naming the field: STEPS_OUT_OF_RANGE,
    STEP_APPROVERS_INVALID, STEP_AMOUNTS_INVALID, STEP_STAND_INS_INVALID, TIME_LIMIT_OUT_OF_RANGE, FILTER_*.
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
    ways = sum(map(bool, (step.roles, step.person_ids, step.superior_level, step.head_of)))
    if (
        ways > 1
        or (not ways and subject_type is not SubjectType.REGISTRATION)
        or max(len(step.roles), len(step.person_ids)) > MOST_APPROVERS
        or not 0 <= step.superior_level <= HIGHEST_SUPERIOR
    ):
        raise InvalidInput(
            f"{field}.roles",
            "STEP_APPROVERS_INVALID",
            "每一步应指定角色、人员、上级或部门负责人之一，最多{most}个；仅客户报备可由提交人选择审批人",
            "A step names roles, people, a superior or a department's head, at most {most}; only a registration's"
            " approver can be chosen",
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
    if (step.when_empty is WhenEmpty.NAMED) != (0 < len(step.stand_in_ids) <= MOST_APPROVERS):
        raise InvalidInput(
            f"{field}.stand_in_ids",
            "STEP_STAND_INS_INVALID",
            "请指定无人可审时由谁代审，最多{most}人；其他处理方式无需指定",
            "Name who decides when nobody fits, at most {most} people; for no other way",
            most=MOST_APPROVERS,
        )
    if not SHORTEST_TIME_LIMIT <= step.time_limit <= LONGEST_TIME_LIMIT:
        raise InvalidInput(
            f"{field}.time_limit",
            "TIME_LIMIT_OUT_OF_RANGE",
            "审批时限应在 1 分钟到 {days} 天之间",
            "A time limit is a minute to {days} days",
            days=LONGEST_TIME_LIMIT.days,
        )
    Filter.parse(step.condition, FIELDS[subject_type], f"{field}.condition")
